"""Undo ops: what they take back, and that nothing to take back is success."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.test_launcher_host import UNIFIED, controller
from tests.support.launch import Launch
from tests.support.netlab import inside, new_namespace, sh
from twinhull.plan import nftables
from twinhull.plan.ops import Op


@pytest.fixture
def group() -> Iterator[Path]:
    """A v2 group with a group below it."""
    path = Path(UNIFIED, f"twinhull-test-{os.getpid()}")
    (path / "below").mkdir(parents=True)
    yield path
    for left in (path / "below", path):
        if left.exists():
            left.rmdir()


def sleeper(group: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sleep", "1000"])
    (group / "cgroup.procs").write_text(str(process.pid))
    return process


def test_every_undo_op_succeeds_when_nothing_is_left(launch: Launch) -> None:
    absent = str(launch.scratch / "absent")
    deletion, acks = nftables.delete("no_such_table", [nftables.Element("set", b"x" * 4)])
    ops = [
        *(Op("kill-cgroup", (f"{UNIFIED}/absent",)), Op("remove-cgroup", (f"{UNIFIED}/absent",))),
        *(Op("remove-file", (absent,)), Op("remove-file", (f"{absent}/file",))),
        Op("nftables-delete", (deletion, acks)),
        Op("end-service", (absent, f"{absent}/service.pid")),
    ]
    result = launch.undo(*ops)
    assert (result.exit_code, result.stderr) == (0, "")


def test_every_op_is_performed_although_one_fails(launch: Launch) -> None:
    file = launch.scratch / "file"
    file.touch()
    result = launch.undo(Op("remove-file", (str(launch.scratch),)), Op("remove-file", (str(file),)))
    assert result.exit_code == 125
    assert result.stderr == f"remove-file {launch.scratch}: {errno.EISDIR}\n"
    assert not file.exists()


def test_kill_cgroup_ends_every_process_below_and_waits_for_it(launch: Launch, group: Path) -> None:
    processes = [sleeper(group / "below") for _ in range(3)]
    assert launch.undo(Op("kill-cgroup", (str(group),)), Op("remove-cgroup", (str(group),))).exit_code == 0
    assert [process.wait(5) for process in processes] == [-9] * 3
    assert not group.exists()


def test_a_frozen_cgroup_is_killed_too(launch: Launch, group: Path) -> None:
    process = sleeper(group / "below")
    (group / "cgroup.freeze").write_text("1")
    assert launch.undo(Op("kill-cgroup", (str(group),)), Op("remove-cgroup", (str(group),))).exit_code == 0
    assert process.wait(5) == -9


def test_remove_cgroup_of_v1_kills_what_is_left_in_it(launch: Launch) -> None:
    group = Path(controller("pids"), f"twinhull-test-{os.getpid()}")
    (group / "below").mkdir(parents=True)
    processes = [sleeper(group / "below"), sleeper(group)]
    assert launch.undo(Op("remove-cgroup", (str(group),))).exit_code == 0
    assert [process.wait(5) for process in processes] == [-9] * 2
    assert not group.exists()


def test_elements_are_added_in_one_batch_and_deleted(launch: Launch) -> None:
    namespace = new_namespace()
    elements = [nftables.Element("ports", nftables.component(bytes([number]))) for number in (1, 2)]
    with inside(namespace):
        sh("nft 'table ip twinhull_test { set ports { type mark; } ; }'")
        launch([Op("nftables", nftables.add("twinhull_test", elements)), *launch.outside()], "/bin/true")
        assert "0x00000001, 0x00000002" in sh("nft list ruleset")
        refused = launch.result(
            [Op("nftables", nftables.add("twinhull_test", elements)), *launch.outside()], "/bin/true"
        )
        assert (refused.exit_code, refused.stderr) == (125, f"nftables: {errno.EEXIST}\n")
        undo = Op("nftables-delete", nftables.delete("twinhull_test", elements))
        assert launch.undo(undo, undo).exit_code == 0
        assert "0x0" not in sh("nft list ruleset")
    os.close(namespace)


def test_undo_ops_of_a_plan_are_performed_when_its_process_has_ended(launch: Launch) -> None:
    file = launch.scratch / "file"
    plan = [*launch.outside(), *[Op("argument", (word,)) for word in ("/bin/touch", str(file))]]
    launch([*plan, Op("exec", ("/bin/touch",)), Op("remove-file", (str(file),))])
    assert not file.exists()
