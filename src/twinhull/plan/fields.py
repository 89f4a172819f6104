"""Which field of a bundle's config.json an op comes from, for what only the kernel can refuse. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OPS = {
    "cgroup1": "linux.cgroupsPath",
    "cgroup2": "linux.cgroupsPath",
    "device-policy": "linux.resources.devices",
    "join-namespace": "linux.namespaces",
    "namespaces": "linux.namespaces",
    "foreign-mounts": "linux.namespaces",
    "id-maps": "linux.uidMappings",
    "root-bind": "root.path",
    "device": "linux.devices",
    "mask": "linux.maskedPaths",
    "read-only": "linux.readonlyPaths",
    "propagation": "linux.rootfsPropagation",
    "hostname": "hostname",
    "domainname": "domainname",
    "sysctl": "linux.sysctl",
    "rlimit": "process.rlimits",
    "oom-score": "process.oomScoreAdj",
    "capabilities": "process.capabilities",
    "user": "process.user",
    "seccomp": "linux.seccomp",
    "seccomp-flags": "linux.seccomp",
    "directory-of-work": "process.cwd",
    "scheduler": "process.scheduler",
    "io-priority": "process.ioPriority",
    "first-affinity": "process.execCPUAffinity.initial",
    "affinity": "process.execCPUAffinity.final",
    "personality": "linux.personality",
    "time-offsets": "linux.timeOffsets",
}
MOUNTS = ("filesystem", "filesystem-copied", "bind", "bind-idmapped", "attributes", "remount")
LIMITS = {
    "memory.limit_in_bytes": "memory.limit",
    "memory.max": "memory.limit",
    "memory.memsw.limit_in_bytes": "memory.swap",
    "memory.swap.max": "memory.swap",
    "memory.soft_limit_in_bytes": "memory.reservation",
    "memory.low": "memory.reservation",
    "memory.kmem.limit_in_bytes": "memory.kernel",
    "memory.kmem.tcp.limit_in_bytes": "memory.kernelTCP",
    "memory.swappiness": "memory.swappiness",
    "memory.oom_control": "memory.disableOOMKiller",
    "memory.use_hierarchy": "memory.useHierarchy",
    "cpu.shares": "cpu.shares",
    "cpu.weight": "cpu.shares",
    "cpu.cfs_period_us": "cpu.period",
    "cpu.cfs_quota_us": "cpu.quota",
    "cpu.max": "cpu.quota",
    "cpu.cfs_burst_us": "cpu.burst",
    "cpu.max.burst": "cpu.burst",
    "cpu.rt_period_us": "cpu.realtimePeriod",
    "cpu.rt_runtime_us": "cpu.realtimeRuntime",
    "cpu.idle": "cpu.idle",
    "cpuset.cpus": "cpu.cpus",
    "cpuset.mems": "cpu.mems",
    "pids.max": "pids.limit",
}
CONTROLLERS = {
    "memory": "memory",
    "cpu": "cpu",
    "cpuset": "cpu",
    "pids": "pids",
    "blkio": "blockIO",
    "io": "blockIO",
    "hugetlb": "hugepageLimits",
    "net_cls": "network.classID",
    "net_prio": "network.priorities",
    "rdma": "rdma",
    "devices": "devices",
}


def field_of(op: str, target: str, spec: Mapping[str, Any]) -> str:
    """The field, "" for an op that comes from none, or whose error says what callers look for.

    Args:
        target: what the launcher says that it was doing.
    """
    if op == "write":
        return write_field(target.partition(" ")[0].rpartition("/")[2], spec)
    if op == "hook":
        return hook_field(target.partition(": ended with")[0], spec)
    if op == "label":
        return "process.apparmorProfile" if target.startswith("apparmor") else "process.selinuxLabel"
    return mount_field(target, spec) if op in MOUNTS else OPS.get(op, "")


def hook_field(path: str, spec: Mapping[str, Any]) -> str:
    """The hook in the container whose program this is; without its place where there are several."""
    found = [
        (kind, index)
        for kind in ("createContainer", "startContainer")
        for index, hook in enumerate((spec.get("hooks") or {}).get(kind) or ())
        if hook["path"] == path
    ]
    if len(found) == 1:
        return f"hooks.{found[0][0]}[{found[0][1]}]"
    return f"hooks.{found[0][0]}" if len({kind for kind, _ in found}) == 1 else "hooks"


def hook_words(field: str) -> str:
    """How runc begins the error of the hook in a field; "" if it is not one alone."""
    kind, _, index = field.removeprefix("hooks.").rstrip("]").partition("[")
    return f"error running {kind} hook #{index}: " if index else ""


def write_field(file: str, spec: Mapping[str, Any]) -> str:
    """The limit that a file of a cgroup holds."""
    resources = (spec.get("linux") or {}).get("resources") or {}
    if file in (resources.get("unified") or {}):
        return f"linux.resources.unified[{file!r}]"
    section = LIMITS.get(file) or CONTROLLERS.get(file.partition(".")[0])
    return f"linux.resources.{section}" if section else ""


def mount_field(target: str, spec: Mapping[str, Any]) -> str:
    """The mount at a place, or whose source it is; the last one, for it hides those before."""
    rows = list(enumerate(spec.get("mounts") or ()))
    for index, row in reversed(rows):
        if target in (row["destination"], "/" + row["destination"].lstrip("/")):
            return f"mounts[{index}]"
    for index, row in rows:
        source = row.get("source") or ""
        if target == source or (source and not source.startswith("/") and target.endswith(f"/{source}")):
            return f"mounts[{index}].source"
    return "mounts"
