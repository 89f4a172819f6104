"""Limits on a machine that has cgroup v2 alone; `test_runtime_guest.py` runs these where v1 is mounted too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Container, Result
from tests.support.vm import wait_until
from twinhull.host.bpf import exchange_device_policy, identities
from twinhull.plan.defaults import DEVICE_RULES
from twinhull.plan.devices import compile_devices

MOUNT = Path("/sys/fs/cgroup")
MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    not (MOUNT / "cgroup.controllers").exists(), reason="cgroup v1 is mounted here: the same tests run in a guest"
)


def group(container: Container) -> Path:
    path: str = container.spec["linux"]["cgroupsPath"]
    return MOUNT / path.lstrip("/")


def values(container: Container, *names: str) -> dict[str, str]:
    return {name: (group(container) / name).read_text().strip() for name in names}


def test_limits_reach_the_group_and_can_be_changed(ours: Container) -> None:
    ours.spec["linux"]["resources"] |= {
        "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 80 * MIB},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000},
        "pids": {"limit": 33},
        "unified": {"memory.high": str(48 * MIB)},
    }
    ours.begin()
    expected = {
        "memory.max": str(64 * MIB),
        "memory.low": str(32 * MIB),
        "memory.swap.max": str(16 * MIB),
        "memory.high": str(48 * MIB),
        "cpu.max": "50000 100000",
        "cpu.weight": "39",
        "pids.max": "33",
    }
    assert values(ours, *expected) == expected
    ours.do("update", "--resources", "-", ours.id, stdin=json.dumps({"memory": {"limit": 72 * MIB}}))
    ours.do("update", "--pids-limit", "44", ours.id)
    assert values(ours, "memory.max", "pids.max") == {"memory.max": str(72 * MIB), "pids.max": "44"}
    stats = json.loads(ours.do("events", "--stats", ours.id).stdout)["data"]
    assert (stats["pids"]["limit"], stats["memory"]["usage"]["limit"]) == (44, 72 * MIB)


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"swappiness": 10}}, "linux.resources.memory.swappiness"),
        ({"unified": {"memory.nothing": "1"}}, "memory.nothing"),
        ({"unified": {"../escape": "1"}}, "../escape"),
    ],
)
def test_what_this_version_does_not_have_is_refused_by_its_name(
    ours: Container, resources: dict[str, object], field: str
) -> None:
    ours.spec["linux"]["resources"] |= resources
    assert ours.create(check=False).returncode == 1
    assert field in ours.errors()[-1]
    assert not group(ours).exists()


def test_a_program_decides_which_devices_can_be_opened(ours: Container) -> None:
    held = ours.spec["process"]["capabilities"]
    for names in held.values():
        names.append("CAP_MKNOD")
    shown = ours.output("cd /dev; mknod mem c 1 1 && echo made; head -c1 mem 2>&1; head -c1 zero | wc -c")
    assert shown.splitlines() == ["made", "head: mem: Operation not permitted", "1"]


def update(container: Container, resources: dict[str, Any]) -> Result:
    return container.do("update", "--resources", "-", container.id, check=False, stdin=json.dumps(resources))


def test_an_update_exchanges_the_program(ours: Container) -> None:
    """Which can open more then, or less; one of another's stays, and holds as well."""
    nothing, kmsg = {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11}
    for names in ours.spec["process"]["capabilities"].values():
        names.append("CAP_MKNOD")
    ours.sh("mknod /dev/kmsg c 1 11; touch /done; exec sleep 1000").begin()
    wait_until((ours.bundle / "rootfs/done").exists, "its node")
    not_full = {"allow": False, "type": "c", "major": 1, "minor": 7}
    exchange_device_policy(str(group(ours)), b"", compile_devices([{"allow": True}, not_full]))

    def opened() -> list[str]:
        script = "for name in full kmsg zero; do (: >> /dev/$name) && echo $name; done 2>/dev/null; true"
        return ours.exec("/bin/sh", "-c", script).stdout.split()

    assert opened() == ["zero"]
    assert update(ours, {"devices": [nothing, {**kmsg, "access": "w"}]}).returncode == 0
    assert opened() == ["kmsg", "zero"]
    assert update(ours, {"devices": [nothing, {**kmsg, "access": "rm"}]}).returncode == 0
    assert opened() == ["zero"]
    assert attached_programs(ours) == 2


def attached_programs(container: Container) -> int:
    """How many programs decide in its group."""
    fd = os.open(group(container), os.O_RDONLY | os.O_DIRECTORY)
    try:
        return len(identities(fd))
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("refused", "field"),
    [
        ({"unified": {"memory.high": "none"}}, "linux.resources.unified['memory.high']"),
        ({"cpu": {"quota": 50_000, "period": 1}}, "linux.resources.cpu.quota"),
        ({"devices": [{"allow": False, "access": "rwm"}]}, "linux.resources.devices"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_update_that_fails_changes_nothing(ours: Container, refused: dict[str, Any], field: str) -> None:
    names = ("memory.max", "memory.low", "pids.max", "cpu.weight", "cpu.max", "memory.high")
    ours.spec["linux"]["resources"] |= {"memory": {"limit": 64 * MIB}, "pids": {"limit": 33}}
    ours.begin()
    if "devices" in refused:  # somebody has taken the program for his own: it cannot be exchanged
        former = compile_devices([{"allow": False, "access": "rwm"}, *DEVICE_RULES[1:]])
        exchange_device_policy(str(group(ours)), former, compile_devices([{"allow": True}]))
    before = values(ours, *names)
    others = {"memory": {"limit": 32 * MIB, "reservation": 16 * MIB}, "pids": {"limit": 7}}
    failed = update(ours, {**others, "cpu": {"shares": 512}, **refused})
    assert (failed.returncode, failed.stderr.partition(": ")[0]) == (1, field)
    assert values(ours, *names) == before


def test_an_exec_can_be_in_a_group_below(ours: Container) -> None:
    ours.begin()
    (group(ours) / "below/more").mkdir(parents=True)
    for word in ("below", "/below/more/"):
        shown = ours.do("exec", "--cgroup", word, ours.id, "/bin/cat", "/proc/self/cgroup").stdout
        assert shown.splitlines()[-1] == f"0::{ours.spec['linux']['cgroupsPath']}/{word.strip('/')}"
    failed = ours.do("exec", "--cgroup", "none", ours.id, "/bin/true", check=False)
    assert (failed.returncode, failed.stderr.partition(": ")[0]) == (255, "--cgroup none")


def test_it_is_frozen_by_its_group(ours: Container) -> None:
    ours.begin()
    ours.do("pause", ours.id)
    assert values(ours, "cgroup.freeze") == {"cgroup.freeze": "1"}
    assert (ours.state()["status"], "frozen 1" in values(ours, "cgroup.events")["cgroup.events"]) == ("paused", True)
    ours.do("resume", ours.id)
    assert values(ours, "cgroup.freeze") == {"cgroup.freeze": "0"}
    assert ours.state()["status"] == "running"


def test_who_takes_more_memory_than_the_limit_is_killed(ours: Container) -> None:
    ours.spec["linux"]["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    assert ours.sh("exec tail -c 64m /dev/zero").run(check=False).returncode == 137


def test_groups_made_inside_go_with_it(ours: Container) -> None:
    """As systemd does: a group below for itself, and controllers for the others; exec joins it there."""
    ours.spec["linux"]["namespaces"].append({"type": "cgroup"})
    ours.spec["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    own = "mkdir /sys/fs/cgroup/own && echo $$ > /sys/fs/cgroup/own/cgroup.procs"
    ours.sh(f"{own} && echo +pids > /sys/fs/cgroup/cgroup.subtree_control && touch /done; exec sleep 1000").begin()
    wait_until((ours.bundle / "rootfs/done").exists, "its own group")
    assert ours.exec("/bin/cat", "/proc/self/cgroup").stdout == "0::/own\n"
    ours.do("delete", "--force", ours.id)
    assert not group(ours).exists()
