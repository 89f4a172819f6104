"""Control groups of a user's bundles: those below a v2 group that is delegated to him."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci_user import UserContainer
from tests.support.shim import wait_until
from twinhull.host.facts import read_facts

DELEGATED = ("", "cgroup.procs", "cgroup.subtree_control")
MIB = 1 << 20


@pytest.fixture
def group(account: str) -> Iterator[Path]:
    """A v2 group of this machine."""
    path = Path(read_facts().cgroup2) / f"twinhull-test-user-{os.getpid()}"
    (path / "own").mkdir(parents=True)
    yield path
    assert wait_until(lambda: "populated 0" in (path / "cgroup.events").read_text())
    for directory, names, _ in os.walk(path, topdown=False):
        for name in names:
            (Path(directory) / name).rmdir()
    path.rmdir()


@pytest.fixture
def delegate(group: Path, mine: UserContainer) -> Iterator[UserContainer]:
    """A container of a user's who calls from a group below one that was given to him."""
    for directory in (group, group / "own"):
        mine.user.give(*(directory / name for name in DELEGATED))
    mine.around = [f"echo $$ >{group}/own/cgroup.procs"]
    yield mine
    mine.remove()


def own(delegate: UserContainer, group: Path) -> Path:
    """The container's group."""
    return group / "twinhull" / delegate.id


def test_a_container_has_a_group_below_the_users(delegate: UserContainer, group: Path) -> None:
    delegate.sh("sleep 1000 & wait").begin()
    where = own(delegate, group)
    assert wait_until(lambda: len((where / "cgroup.procs").read_text().split()) == 2)
    assert delegate.exec("cat", "/proc/self/cgroup").stdout.splitlines()[-1] == "0::/"
    assert len(json.loads(delegate.do("ps", "--format", "json", delegate.id).stdout)) == 2
    delegate.do("pause", delegate.id)
    assert delegate.state()["status"] == "paused"
    delegate.do("resume", delegate.id)
    delegate.do("kill", "--all", delegate.id, "KILL")
    delegate.await_status("stopped")
    delegate.do("delete", delegate.id)
    assert not where.exists()


def test_a_path_below_the_users_group_is_taken(delegate: UserContainer, group: Path) -> None:
    delegate.spec["linux"]["cgroupsPath"] = f"/{group.name}/chosen/here"
    delegate.args("/bin/sleep", "1000").begin()
    pid = str(delegate.state()["pid"])
    assert (group / "chosen/here/cgroup.procs").read_text().split() == [pid]


def test_a_limit_is_held_and_changed_or_refused(delegate: UserContainer, group: Path) -> None:
    delegate.spec["linux"]["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 30}}
    delegate.args("/bin/sleep", "1000")
    if not {"memory", "pids"} <= set((group / "cgroup.controllers").read_text().split()):
        assert delegate.create(check=False).returncode == 1
        assert delegate.errors()[-1].startswith("linux.resources.memory: your groups have no")
        assert delegate.kept() == []
        return
    delegate.begin()
    where = own(delegate, group)
    assert [(where / name).read_text() for name in ("memory.max", "pids.max")] == [f"{64 * MIB}\n", "30\n"]
    delegate.do("update", "--memory", "32m", "--pids-limit", "20", delegate.id)
    assert [(where / name).read_text() for name in ("memory.max", "pids.max")] == [f"{32 * MIB}\n", "20\n"]


def test_who_calls_from_outside_gets_no_group(delegate: UserContainer, group: Path) -> None:
    delegate.around = []
    assert delegate.output("echo in") == "in\n"
    assert not (group / "twinhull").exists()


def test_an_exec_from_outside_is_told_where_it_belongs(delegate: UserContainer) -> None:
    delegate.args("/bin/sleep", "1000").begin()
    inside, delegate.around = delegate.around, []
    assert delegate.exec("true", check=False).returncode == 255
    assert "systemd-run --user --scope" in delegate.errors()[-1]
    delegate.around = inside
    assert delegate.exec("echo", "in").stdout == "in\n"


def test_what_of_groups_a_user_has_not_is_in_the_log_alone(mine: UserContainer) -> None:
    mine.spec["linux"]["cgroupsPath"] = "/nobodys/group"
    mine.spec["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    done = mine.sh("echo in").run()
    assert (done.stdout, done.stderr) == ("in\n", "")
    rows = [json.loads(line) for line in mine.log.read_text().splitlines()]
    assert [(row["level"], row["msg"].partition(": ")[0]) for row in rows] == [
        ("warning", "linux.resources.devices"),
        ("warning", "linux.cgroupsPath"),
    ]
