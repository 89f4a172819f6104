"""What stands for a virtual machine where there is cgroup v2 alone: limits around it, its end for want of memory.

`test_runtime_guest.py` runs these in a guest. QEMU is not in it: what is tried is all but the boot.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci import Container
from twinhull.plan import frames
from twinhull.plan.frames import Frame, Kind
from twinhull.plan.jail import OVERHEAD_BYTES
from twinhull.runtime.oci.launcher import launcher

MOUNT = Path("/sys/fs/cgroup")
MIB = 1 << 20
GUEST_BYTES = 256 * MIB

pytestmark = pytest.mark.skipif(
    not (MOUNT / "cgroup.controllers").exists(), reason="cgroup v1 is mounted here: the same tests run in a guest"
)


@pytest.fixture
def created(tmp_path: Path, busybox_image: Path) -> Iterator[Container]:
    """One with limits, that awaits its start."""
    made = Container("twinhull-oci-vm", tmp_path, busybox_image)
    made.spec["linux"]["resources"] |= {
        "memory": {"limit": 64 * MIB},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000},
        "unified": {"memory.high": str(512 * MIB)},
    }
    made.create()
    yield made
    made.remove()


def group(container: Container) -> Path:
    path: str = container.spec["linux"]["cgroupsPath"]
    return MOUNT / path.lstrip("/")


def values(container: Container, *names: str) -> dict[str, str]:
    return {name: (group(container) / name).read_text().strip() for name in names}


def test_the_limits_are_around_what_stands_for_it_and_leave_room_for_the_machine(created: Container) -> None:
    expected = {
        "memory.max": str(GUEST_BYTES + OVERHEAD_BYTES),
        "memory.high": str(512 * MIB),
        "cpu.max": "50000 100000",
        "cpu.weight": "39",
        "cgroup.procs": str(created.state()["pid"]),
    }
    assert values(created, *expected) == expected
    created.do("update", "--memory", "400m", "--cpu-share", "2048", created.id)
    assert int(values(created, "memory.max")["memory.max"]) >= 400 * MIB + OVERHEAD_BYTES
    assert values(created, "cpu.weight") == {"cpu.weight": "79"}
    stats = json.loads(created.do("events", "--stats", created.id).stdout)["data"]
    assert stats["memory"]["usage"]["limit"] >= 400 * MIB + OVERHEAD_BYTES


def test_it_is_frozen_killed_and_deleted_by_its_group(created: Container) -> None:
    created.do("pause", created.id)
    assert "frozen 1" in values(created, "cgroup.events")["cgroup.events"]
    created.do("resume", created.id)
    created.do("kill", "--all", created.id, "KILL")
    created.await_status("stopped")
    created.do("delete", created.id)
    assert not group(created).exists()


def test_one_whose_program_was_killed_for_want_of_memory_is_killed_so_by_its_group(tmp_path: Path) -> None:
    place = MOUNT / f"oom{os.getpid()}"
    place.mkdir()
    try:
        (place / "memory.max").write_text(str(32 * MIB))
        (place / "memory.swap.max").write_text("0") if (place / "memory.swap.max").exists() else None
        ours, theirs = socket.socketpair()
        words = [launcher(), "attach", "--fd", str(theirs.fileno()), "--stands-in", "--memory", str(32 * MIB)]
        join = ["sh", "-c", f'echo $$ >{place}/cgroup.procs; exec "$0" "$@"', *words]
        stands = subprocess.Popen(join, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        ours.sendall(frames.encode(Frame(Kind.EXIT, 0, struct.pack("<III", 137, 9, 1))))
        assert stands.wait(timeout=30) == -9
        assert "oom_kill 1" in (place / "memory.events").read_text()
        ours.close()
    finally:
        place.rmdir()
