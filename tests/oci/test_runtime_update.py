"""`twinhull-oci update` changes all that it is told to, or nothing, and names what it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Container, Result

LIMITS = {"memory": {"limit": 1 << 25, "swap": 1 << 26}, "pids": {"limit": 50}, "cpu": {"shares": 512, "quota": 50_000}}
FILES = (
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("pids", "pids.max"),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_quota_us"),
    ("blkio", "blkio.throttle.read_bps_device"),
)
pytestmark = pytest.mark.skipif(
    not Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(), reason="needs cgroup v1 that counts swap"
)


def begun(container: Container) -> Container:
    """A running container with limits."""
    container.spec["linux"]["resources"].update(LIMITS)
    return container.begin()


def update(container: Container, resources: dict[str, Any]) -> Result:
    """Ask for other limits."""
    path = container.scratch / "limits"
    path.write_text(json.dumps(resources))
    return container.do("update", "--resources", str(path), container.id, check=False)


def limits(container: Container) -> list[str]:
    """What the kernel has."""
    place = f"twinhull-test/{container.id}"
    return [Path("/sys/fs/cgroup", kind, place, file).read_text() for kind, file in FILES]


def a_disk() -> dict[str, int]:
    """The numbers of a block device that is here."""
    major, minor = min(Path("/sys/block").glob("*/dev")).read_text().split(":")
    return {"major": int(major), "minor": int(minor)}


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"limit": 1 << 24}, "pids": {"limit": 7}, "cpu": {"shares": 100, "cpus": "4095"}}, "cpu.cpus"),
        ({"cpu": {"shares": 100, "quota": 1}}, "cpu.quota"),
        ({"memory": {"limit": 1 << 27}}, "memory.limit"),
        ({"memory": {"limit": 1 << 28, "swap": 1 << 29}, "cpu": {"mems": "900"}}, "cpu.mems"),
        ({"unified": {"hugetlb.2MB.max": "x"}}, "unified['hugetlb.2MB.max']"),
    ],
)
def test_an_update_that_fails_names_the_field_and_changes_nothing(
    ours: Container, resources: dict[str, Any], field: str
) -> None:
    before = limits(begun(ours))
    disk = {"throttleReadBpsDevice": [{**a_disk(), "rate": 1 << 20}]}
    failed = update(ours, {**resources, "blockIO": disk})
    assert failed.returncode == 1 and failed.stderr.startswith(f"linux.resources.{field}: "), failed.stderr
    assert limits(ours) == before


def test_what_an_update_takes_back_is_what_the_one_before_it_set(ours: Container) -> None:
    begun(ours)
    disk = {"throttleReadBpsDevice": [{**a_disk(), "rate": 1 << 20}]}
    assert update(ours, {"memory": {"limit": 1 << 27, "swap": 1 << 28}, "blockIO": disk}).returncode == 0
    before = limits(ours)
    assert str(1 << 20) in before[-1] and before[0].strip() == str(1 << 27)
    disk = {"throttleReadBpsDevice": [{**a_disk(), "rate": 1 << 21}]}
    wrong = {"memory": {"limit": 1 << 25, "swap": 1 << 26}, "blockIO": disk, "unified": {"hugetlb.2MB.max": "x"}}
    assert update(ours, wrong).returncode == 1
    assert limits(ours) == before


def test_no_limit_of_memory_is_none_of_both_where_swap_counts_it(container: Container) -> None:
    if container.runtime == "crun":
        pytest.skip("crun writes the one alone, which the kernel refuses")
    done = update(begun(container), {"memory": {"limit": -1}})
    assert done.returncode == 0, done.stderr
    assert all(int(text) > 1 << 60 for text in limits(container)[:2])


def test_devices_that_a_group_above_has_not_are_refused_and_the_limits_taken_back(ours: Container) -> None:
    above = Path("/sys/fs/cgroup/devices/twinhull-test", f"above-{ours.id}")
    ours.spec["linux"]["cgroupsPath"] = f"/twinhull-test/above-{ours.id}/{ours.id}"
    ours.begin()
    (above / "devices.deny").write_text("c 1:7 rwm")
    group = Path("/sys/fs/cgroup/devices/twinhull-test", above.name, ours.id)
    count = Path("/sys/fs/cgroup/pids/twinhull-test", above.name, ours.id, "pids.max")
    before = (group / "devices.list").read_text(), count.read_text()
    full = {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "r"}
    failed = update(ours, {"pids": {"limit": 33}, "devices": [{"allow": False, "access": "rwm"}, full]})
    assert failed.stderr.startswith("linux.resources.devices: ") and "Operation not permitted" in failed.stderr
    assert ((group / "devices.list").read_text(), count.read_text()) == before
    ours.do("delete", "--force", ours.id)
    for path in Path("/sys/fs/cgroup").glob(f"*/twinhull-test/{above.name}"):
        path.rmdir()


def test_a_limit_that_the_kernel_passes_over_is_a_warning_and_a_flag_that_it_refuses_an_error(ours: Container) -> None:
    begun(ours)
    warning = "warning: linux.resources.memory.kernel: not enforced"
    assert ours.do("update", "--kernel-memory", "10m", ours.id).stderr.startswith(warning)
    assert update(ours, {"memory": {"kernel": 5}}).stderr.startswith(warning)
    assert update(ours, {"memory": {"limit": 1 << 25, "useHierarchy": True}}).returncode == 0
    failed = update(ours, {"memory": {"useHierarchy": False}})
    assert failed.returncode == 1 and failed.stderr.startswith("linux.resources.memory.useHierarchy: ")
