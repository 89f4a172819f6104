"""The name of a workload's cgroup inside a guest."""

from __future__ import annotations

from twinhull.plan.guest import guest_plan
from twinhull.plan.ops import Op, Plan

IDENTITY = "ab" * 32


def test_the_workloads_group_is_renamed_and_its_parents_files_are_not() -> None:
    plan = Plan(
        host=(
            Op("write", ("/sys/fs/cgroup/twinhull/cgroup.subtree_control", "+memory")),
            Op("cgroup2", (f"/sys/fs/cgroup/twinhull/{IDENTITY}",)),
            Op("write", (f"/sys/fs/cgroup/twinhull/{IDENTITY}/memory.max", "1")),
        )
    )

    assert [op.args[0] for op in guest_plan(plan)] == [
        "/sys/fs/cgroup/twinhull/cgroup.subtree_control",
        "/sys/fs/cgroup/twinhull/workload",
        "/sys/fs/cgroup/twinhull/workload/memory.max",
    ]
