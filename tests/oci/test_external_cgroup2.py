"""A container of another runtime where there is cgroup v2 alone: `test_runtime_guest.py` runs these in a guest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.oci import TWINHULL_OCI

MOUNT = Path("/sys/fs/cgroup")
MIB = 1 << 20
LIMITS = ("--memory", "32m", "--pids-limit", "30", "--cpus", "0.5")
EATS = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"

pytestmark = pytest.mark.skipif(
    not (MOUNT / "cgroup.controllers").exists(), reason="cgroup v1 is mounted here: the same tests run in a guest"
)


@pytest.fixture(params=["twinhull-oci", "runc"])
def runtime(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The flag that names the runtime, and no network: the guest's kernel has no packet filter."""
    found = str(TWINHULL_OCI) if request.param == "twinhull-oci" else shutil.which(request.param)
    if not found:
        pytest.skip("runc is not installed")
    return "--network", "none", "--runtime", found


def test_the_runtime_sets_the_limits_of_the_group_that_we_use(twinhull: Twinhull, runtime: tuple[str, ...]) -> None:
    twinhull("run", "-d", "--name", "long", *LIMITS, *runtime, "busybox", "sleep", "1000", check=True)
    group = MOUNT / "twinhull" / twinhull("inspect", "long").json()[0]["id"]
    found = [(group / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")]
    assert found == [str(32 * MIB), "30", "50000 100000"]
    processes = len((group / "cgroup.procs").read_text().split())
    twinhull("exec", "--detach", "long", "sleep", "1000", check=True)
    assert len((group / "cgroup.procs").read_text().split()) == processes + 1
    twinhull("update", "--memory", "40m", "long", check=True)
    assert (group / "memory.max").read_text() == f"{40 * MIB}\n"
    twinhull("pause", "long", check=True)
    assert "frozen 1" in (group / "cgroup.events").read_text()
    twinhull("unpause", "long", check=True)
    twinhull("rm", "--force", "long", check=True)
    assert not group.exists()


def test_what_takes_more_memory_than_it_may_is_killed_and_it_is_said(
    twinhull: Twinhull, runtime: tuple[str, ...]
) -> None:
    assert twinhull("run", "--name", "eats", "-m", "16m", *runtime, "busybox", "sh", "-c", EATS).exit_code == 137
    assert twinhull("inspect", "eats").json()[0]["oom_killed"] is True
