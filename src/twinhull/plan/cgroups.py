"""Cgroups of a workload: one v2 leaf always, v1 groups only where a limit asks for one. Pure.

A child is created inside the v2 leaf (clone3), which costs nothing; joining a v1 group after a
pause costs 7 to 15 ms of RCU, so no controller is touched without need.
"""

from __future__ import annotations

from twinhull.errors import UnsupportedSpec
from twinhull.model import Facts
from twinhull.plan.devices import compile_devices
from twinhull.plan.ops import Op
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Literal

GUEST_FACTS = Facts(cgroup2="/sys/fs/cgroup", cgroup2_controllers=("cpu", "memory", "pids"))


class Groups(NamedTuple):
    """Ops that make the cgroups with their limits, and those that remove them."""

    make: tuple[Op, ...]
    undo: tuple[Op, ...]


class Limit(NamedTuple):
    """One limit: its controller, and (file, value) pairs for v2 and for v1."""

    controller: str
    v2: tuple[tuple[str, str], ...]
    v1: tuple[tuple[str, str], ...]


def cgroup_ops(linux: Mapping[str, Any], facts: Facts, place: Literal["host", "guest"]) -> Groups:
    """Return the ops for linux.cgroupsPath and linux.resources.

    Raises:
        UnsupportedSpec: a limit whose controller this machine does not have.
    """
    path, resources = linux["cgroupsPath"], linux.get("resources") or {}
    if place == "guest":  # the processors of the host are those of QEMU
        facts = GUEST_FACTS
        cpu = {key: value for key, value in (resources.get("cpu") or {}).items() if key != "cpus"}
        resources = {**resources, "cpu": cpu}
    make: list[Op] = []
    undo: list[Op] = []
    limits = resource_limits(resources, facts)
    if facts.cgroup2:
        leaf = facts.cgroup2 + path
        enabled = [limit.controller for limit in limits if limit.controller in facts.cgroup2_controllers]
        make += enable(facts.cgroup2, path, enabled)
        make.append(Op("cgroup2", (leaf,)))
        # Without root no program can be loaded; and no node can be made that it would have to refuse.
        if not facts.rootless and (rules := resources.get("devices")):
            make.append(Op("device-policy", (compile_devices(rules),)))
        undo += [Op("kill-cgroup", (leaf,)), Op("remove-cgroup", (leaf,))]
    for limit in limits:
        directory, values = place_of(limit, path, facts)
        if limit.controller not in facts.cgroup2_controllers:
            make.append(Op("cgroup1", (directory,)))
            undo.append(Op("remove-cgroup", (directory,)))
        make += [Op("write", (f"{directory}/{file}", value)) for file, value in values]
    return Groups(tuple(make), tuple(undo))


def hierarchies(facts: Facts) -> dict[str, list[str]]:
    """Mount point -> controllers of each v1 hierarchy: two may share one."""
    found: dict[str, list[str]] = {}
    for controller, point in facts.cgroup1:
        found.setdefault(point, []).append(controller)
    return found


def enable(root: str, path: str, controllers: list[str]) -> list[Op]:
    """Let the controllers reach the leaf: each ancestor names them for its children."""
    if not controllers:
        return []
    value = " ".join(f"+{name}" for name in controllers)
    parents = [root]
    for name in path.strip("/").split("/")[:-1]:
        parents.append(f"{parents[-1]}/{name}")
    ops: list[Op] = []
    for parent in parents:
        if parent != root:
            ops.append(Op("cgroup2", (parent,)))
        ops.append(Op("write", (f"{parent}/cgroup.subtree_control", value)))
    return ops


def place_of(limit: Limit, path: str, facts: Facts) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the directory that holds the limit's files, and the values for it."""
    if limit.controller in facts.cgroup2_controllers:
        return facts.cgroup2 + path, limit.v2
    for controller, mount_point in facts.cgroup1:
        if controller == limit.controller:
            return mount_point + path, limit.v1
    raise UnsupportedSpec(
        f"this machine cannot limit {limit.controller}: no such cgroup controller",
        hint="twinhull doctor shows the cgroup mode; leave the limit out",
    )


def resource_limits(resources: Mapping[str, Any], facts: Facts) -> list[Limit]:
    """Return the limits of linux.resources in the words of both cgroup versions."""
    found = []
    if memory := resources.get("memory"):
        found.append(memory_limit(memory, facts))
    if cpu := resources.get("cpu"):
        found += cpu_limits(cpu)
    if pids := resources.get("pids"):
        value = str(pids["limit"]) if pids["limit"] > 0 else "max"
        found.append(Limit("pids", (("pids.max", value),), (("pids.max", value),)))
    return found


def cpu_limits(cpu: Mapping[str, Any]) -> Iterator[Limit]:
    """Time and weight, and the set of processors."""
    new: list[tuple[str, str]] = []
    old: list[tuple[str, str]] = []
    if quota := cpu.get("quota"):
        new.append(("cpu.max", f"{quota} {cpu['period']}"))
        old += [("cpu.cfs_period_us", str(cpu["period"])), ("cpu.cfs_quota_us", str(quota))]
    if shares := cpu.get("shares"):
        from twinhull.plan.resources import weight

        new.append(("cpu.weight", str(weight(shares))))
        old.append(("cpu.shares", str(shares)))
    if new:
        yield Limit("cpu", tuple(new), tuple(old))
    if cpus := cpu.get("cpus"):
        yield Limit("cpuset", (("cpuset.cpus", cpus),), (("cpuset.cpus", cpus),))


def memory_limit(memory: Mapping[str, int | None], facts: Facts) -> Limit:
    """Memory, and swap where the kernel accounts it (None leaves it): the spec's counts memory too, v2's does not."""
    limit = memory["limit"]
    assert limit is not None, "a limit of memory has a value"
    swap = memory.get("swap", limit)
    if swap is None:
        return Limit("memory", (("memory.max", str(limit)),), (("memory.limit_in_bytes", str(limit)),))
    new = [("memory.max", str(limit)), ("memory.swap.max", str(swap - limit) if swap >= 0 else "max")]
    old = [("memory.limit_in_bytes", str(limit))]
    if facts.swap_limit:
        old.append(("memory.memsw.limit_in_bytes", str(swap)))
    return Limit("memory", tuple(new), tuple(old))
