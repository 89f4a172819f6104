"""update, events and ps: what a container's cgroups hold."""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.errors import Conflict, TwinhullError, UnsupportedSpec
from twinhull.host import files
from twinhull.host.facts import read, read_facts
from twinhull.plan.bundle_cgroups import Cgroup, device_ops, writes
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.life import locked
from twinhull.runtime.oci.limits import apply, apply_policy, take_back
from twinhull.runtime.oci.record import Record
from twinhull.runtime.oci.refusals import fields_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.plan.ops import Op

    Rows = tuple[tuple[str, str], ...]


def update(root: str, identity: str, resources: Mapping[str, Any]) -> None:
    """Change the limits of a container; what is not named stays.

    Raises:
        Conflict: it has ended.
        LaunchError: the kernel refused a value; those that it had taken are taken back.
    """
    with locked(root, identity):
        record = records.load(root, identity)
        if records.status(root, record) not in ("created", "running", "paused"):
            raise Conflict("container not running")
        facts = read_facts()
        cgroup = Cgroup(record.unified, tuple((name, path) for name, path in record.legacy))
        if os.geteuid() != 0 or facts.rootless:
            own = read(f"{record.unified}/cgroup.controllers").split() if record.unified else ()
            facts = facts._replace(cgroup2_controllers=tuple(own), rootless=True)
        spec = records.config(root, identity)
        kept = spec.setdefault("linux", {}).setdefault("resources", {})
        with fields_named({"linux": {"resources": resources}}):
            around, inside, former = divided(root, record, resources)
            check_usage(record, around.get("memory") or {})
            if facts.rootless and around.get("devices"):
                raise UnsupportedSpec("linux.resources.devices: nothing enforces them for a user without root")
            policy = list(device_ops(around, cgroup))
            done = apply(list(writes(around, cgroup, facts)))
            try:
                set_devices(policy, list(device_ops(kept, cgroup)) if policy else [], cgroup.unified)
                if inside:
                    set_inside(root, record, inside, former)
            except TwinhullError:
                take_back(done)
                raise
        for key, value in resources.items():
            kept[key] = {**kept.get(key, {}), **value} if isinstance(value, dict) else value
        files.replace(f"{records.directory(root, identity)}/config.json", jsontext.dumps(spec).encode())


def set_devices(policy: Sequence[Op], former: Sequence[Op], unified: str) -> None:
    """Have other rules for devices in place of the former ones: v1's lists, or the program of the v2 group.

    Raises:
        LaunchError: the kernel refused them, and the former ones hold.
    """
    if policy and policy[0].name == "device-policy":
        from twinhull.host.bpf import exchange_device_policy

        exchange_device_policy(unified, *(program(ops) for ops in (former, policy)))
    else:
        apply_policy(*([(str(op.args[0]), str(op.args[1])) for op in ops] for ops in (policy, former)))


def program(ops: Sequence[Op]) -> bytes:
    """That of a policy, b"" without one."""
    return b"".join(argument for op in ops for argument in op.args if isinstance(argument, bytes))


def check_usage(record: Record, section: Mapping[str, Any]) -> None:
    """Refuse a limit that would kill at once, where the caller asks for that check.

    Raises:
        Conflict: more is in use.
    """
    if not section.get("checkBeforeUpdate"):
        return
    used = memory(record.unified, dict(record.legacy)).get("usage", {}).get("usage", 0)
    if 0 < (section.get("limit") or 0) < used:
        raise Conflict(f"linux.resources.memory.limit: {used} bytes are in use, more than {section['limit']}")


def divided(root: str, record: Record, resources: Mapping[str, Any]) -> tuple[Mapping[str, Any], Rows, Rows]:
    """Return the limits of the host's groups, those inside a virtual machine, and what is there instead of these."""
    if records.GUEST not in record.marks:
        return resources, (), ()
    from twinhull.runtime.oci import guest_limits

    return guest_limits.divide(root, record, resources)


def set_inside(root: str, record: Record, inside: Rows, former: Rows) -> None:
    """Have the guest set its limits, all or none."""
    from twinhull.runtime.oci import guest_limits

    guest_limits.write(root, record, inside, former)


def statistics(record: Record) -> dict[str, Any]:
    """Return what the groups count, as `events --stats` shows it. Times in nanoseconds, sizes in bytes."""
    legacy = dict(record.legacy)
    return {
        "cpu": cpu(record.unified, legacy),
        "memory": memory(record.unified, legacy),
        "pids": pids(record.unified, legacy),
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def cpu(unified: str, legacy: Mapping[str, str]) -> dict[str, Any]:
    """Time used, and how often the quota held it up; nothing of a container without groups."""
    if not legacy and not unified:
        return {}
    if "cpuacct" in legacy:
        usage = numbers(f"{legacy['cpuacct']}/cpuacct.stat")
        tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        total, user, kernel = number(f"{legacy['cpuacct']}/cpuacct.usage"), "user", "system"
        found = {"total": total, "kernel": usage.get(kernel, 0) * tick_ns, "user": usage.get(user, 0) * tick_ns}
        held = numbers(f"{legacy.get('cpu', '/nowhere')}/cpu.stat")
        throttled_ns = held.get("throttled_time", 0)
    else:
        held = numbers(f"{unified}/cpu.stat")
        names = (("total", "usage_usec"), ("kernel", "system_usec"), ("user", "user_usec"))
        found = {key: held.get(name, 0) * 1000 for key, name in names}
        throttled_ns = held.get("throttled_usec", 0) * 1000
    throttling = {
        "periods": held.get("nr_periods", 0),
        "throttledPeriods": held.get("nr_throttled", 0),
        "throttledTime": throttled_ns,
    }
    return {"usage": found, "throttling": throttling}


def memory(unified: str, legacy: Mapping[str, str]) -> dict[str, Any]:
    """Memory used and its limit; nothing where no group counts it."""
    if directory := legacy.get("memory"):
        raw = numbers(f"{directory}/memory.stat")
        usage = {
            "usage": number(f"{directory}/memory.usage_in_bytes"),
            "max": number(f"{directory}/memory.max_usage_in_bytes"),
            "limit": number(f"{directory}/memory.limit_in_bytes"),
            "failcnt": number(f"{directory}/memory.failcnt"),
        }
        return {"usage": usage, "cache": raw.get("cache", 0), "raw": raw}
    if not read(f"{unified}/memory.current"):
        return {}
    raw = numbers(f"{unified}/memory.stat")
    usage = {
        "usage": number(f"{unified}/memory.current"),
        "limit": number(f"{unified}/memory.max"),
        "failcnt": numbers(f"{unified}/memory.events").get("max", 0),
    }
    return {"usage": usage, "cache": raw.get("file", 0), "raw": raw}


def pids(unified: str, legacy: Mapping[str, str]) -> dict[str, int]:
    """Processes, and how many there may be: 0 is no limit."""
    directory = legacy.get("pids") or unified
    if not read(f"{directory}/pids.current"):
        return {}
    return {"current": number(f"{directory}/pids.current"), "limit": number(f"{directory}/pids.max")}


def number(path: str) -> int:
    """The number in a control file; 0 for "max" or none."""
    text = read(path).strip()
    return int(text) if text.isdecimal() else 0


def numbers(path: str) -> dict[str, int]:
    """The "key value" lines of a control file."""
    rows = (line.split() for line in read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}
