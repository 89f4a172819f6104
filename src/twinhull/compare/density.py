"""How many instances fit on this machine, and which limit binds first.

Promise: what one instance takes is counted on running ones, and what is left is read from the kernel in
the same run; a limit that could not be read is left out, never guessed.
"""

from __future__ import annotations

import os

from twinhull.compare import figures, statistics
from twinhull.compare.findings import Findings
from twinhull.engine import Engine
from twinhull.host import memory
from twinhull.host.facts import read, read_facts
from twinhull.host.machine import meminfo
from twinhull.network.leases import BRIDGE_PORTS, FIRST_OFFSET, parse_subnet
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.compare.session import Instances, Session
    from twinhull.compare.subject import Idle
    from twinhull.config import Config

# user_namespaces(7): how many namespaces of a kind one user may have.
NAMESPACE_LIMITS = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


class Weight(NamedTuple):
    """What one more instance takes. 0: nothing, or not measured."""

    memory_bytes: float
    disk_bytes: float
    processor_percent: float  # of one CPU, while idle
    tasks: float
    files: float


class Weights(NamedTuple):
    """The medians, and the two ends of their intervals or ranges."""

    middle: Weight
    low: Weight
    high: Weight


class Room(NamedTuple):
    """What this machine has left. None: no such limit, or it could not be read."""

    memory_bytes: int | None
    disk_bytes: int | None
    processor_percent: float | None
    tasks: int | None
    cgroup_tasks: int | None
    files: int | None
    ports: int | None
    addresses: int | None
    namespaces: int | None


class Limit(NamedTuple):
    """How many more instances one limit lets in, and from what that was computed.

    Attributes:
        low, high: the same at the ends of what one instance takes; None where it may take nothing.
    """

    name: str
    most: int
    basis: str
    low: int
    high: int | None


def observe(session: Session, groups: Mapping[str, Instances], totals: Mapping[str, Sequence[float]]) -> None:
    """Compute the density of each side while its instances run."""
    room = read_room(session.config)
    for name, group in groups.items():
        if not group.idle or len(totals[name]) < 2:
            session.findings.gap(f"{name}.density", session.findings.reason(f"{name}.memory_bytes"))
            continue
        weights = weigh(session.findings, name, group.idle)
        session.findings.density[name] = entry(ranked(weights, room), weights.middle, totals[name])


def weigh(findings: Findings, name: str, idle: Sequence[Idle]) -> Weights:
    """What was measured, and the tasks and files of the instances that run now."""
    trees = [memory.tree(one.supervisor) for one in idle]
    tasks = [sum(len(memory.listing(f"/proc/{pid}/task")) for pid in pids) for pids in trees]
    files = [sum(len(memory.listing(f"/proc/{pid}/fd")) for pid in pids) for pids in trees]

    def measured(key: str) -> tuple[float, float, float]:
        summary = findings.summary(f"{name}.{key}")
        ends = (summary.median, summary.low, summary.high) if summary else (0.0, 0.0, 0.0)
        return max(ends[0], 0.0), max(ends[1], 0.0), max(ends[2], 0.0)

    own, kernel, disk, idling = map(measured, ("memory_bytes", "kernel_bytes", "disk_bytes", "idle_percent"))
    return Weights(
        *(
            Weight(
                memory_bytes=own[end] + kernel[end],
                disk_bytes=disk[end],
                processor_percent=idling[end],
                tasks=statistics.median(tasks),
                files=statistics.median(files),
            )
            for end in range(3)
        )
    )


def ranked(weights: Weights, room: Room) -> list[Limit]:
    """Every limit with its interval, the one that binds first at the beginning."""
    most, fewest = ({one.name: one.most for one in limits(weight, room)} for weight in (weights.low, weights.high))
    return [
        limit._replace(low=fewest.get(limit.name, limit.most), high=most.get(limit.name))
        for limit in limits(weights.middle, room)
    ]


def limits(weight: Weight, room: Room) -> list[Limit]:
    """Every limit that one instance draws on, the one that binds first at the beginning."""

    def quotient(name: str, left: float | None, each: float, basis: str) -> list[Limit]:
        if left is None or left < 0 or each <= 0:
            return []
        most = int(left // each)
        return [Limit(name, most, basis, most, most)]

    size = figures.quantity
    found = [
        *quotient("memory", room.memory_bytes, weight.memory_bytes,
                  f"{size(room.memory_bytes or 0, 'B')} available, {size(weight.memory_bytes, 'B')} each"),
        *quotient("disk", room.disk_bytes, weight.disk_bytes,
                  f"{size(room.disk_bytes or 0, 'B')} free, {size(weight.disk_bytes, 'B')} each"),
        *quotient("processor", room.processor_percent, weight.processor_percent,
                  f"{room.processor_percent or 0:.0f} % of a CPU, {weight.processor_percent:.2g} % each while idle"),
        *quotient("pids", room.tasks, weight.tasks, f"{room.tasks} of kernel.pid_max left, {weight.tasks:.0f} each"),
        *quotient("cgroup pids", room.cgroup_tasks, weight.tasks,
                  f"{room.cgroup_tasks} of pids.max left, {weight.tasks:.0f} each"),
        *quotient("descriptors", room.files, weight.files,
                  f"{room.files} of fs.file-max left, {weight.files:.0f} each"),
        *quotient("bridge ports", room.ports, 1, f"{room.ports} of {BRIDGE_PORTS} ports of one bridge left, 1 each"),
        *quotient("addresses", room.addresses, 1, f"{room.addresses} of the subnet left, 1 each"),
        *quotient("namespaces", room.namespaces, 1, f"{room.namespaces} of user.max_*_namespaces, 1 of a kind each"),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit.most)


def entry(found: Sequence[Limit], weight: Weight, totals: Sequence[float]) -> dict[str, Any]:
    """The density of one side as the document has it. `points` is [[instances, bytes of all of them], …]."""
    return {
        "limits": [
            {"name": limit.name, "count": limit.most, "low": limit.low, "high": limit.high, "basis": limit.basis}
            for limit in found
        ],
        "binds": found[0].name if found else "",
        "may_bind": [limit.name for limit in rivals(found)],
        "slope_bytes": weight.memory_bytes,
        "points": [[number, total] for number, total in enumerate(totals, 1)],
    }


def rivals(found: Sequence[Limit]) -> list[Limit]:
    """The limits that may be reached before the first one: their intervals overlap."""
    first = found[0].high if found else 0
    return [limit for limit in found[1:] if first is None or limit.low <= first]


def read_room(config: Config) -> Room:
    """Ask the kernel what is left of everything that instances share."""
    storage = os.statvfs(config.state)
    ports, addresses = network_room(config)
    return Room(
        memory_bytes=meminfo(read("/proc/meminfo")).get("MemAvailable"),
        disk_bytes=storage.f_bavail * storage.f_frsize,
        processor_percent=100.0 * len(os.sched_getaffinity(0)),
        tasks=tasks_room(read("/proc/loadavg"), read("/proc/sys/kernel/pid_max"), read("/proc/sys/kernel/threads-max")),
        cgroup_tasks=cgroup_room(),
        files=files_room(read("/proc/sys/fs/file-nr")),
        ports=ports,
        addresses=addresses,
        namespaces=min((int(text) for kind in NAMESPACE_LIMITS if (text := namespace_limit(kind))), default=None),
    )


def namespace_limit(kind: str) -> str:
    """The text of one of the limits; "" on a kernel without it."""
    return read(f"/proc/sys/user/max_{kind}_namespaces").strip()


def tasks_room(loadavg: str, pid_max: str, threads_max: str) -> int | None:
    """Tasks that may still be made: /proc/loadavg has RUNNING/ALL as its fourth word."""
    words = loadavg.split()
    if len(words) < 4 or not pid_max.strip():
        return None
    most = min(int(pid_max), int(threads_max) if threads_max.strip() else int(pid_max))
    return most - int(words[3].partition("/")[2])


def files_room(file_nr: str) -> int | None:
    """Files that may still be opened: /proc/sys/fs/file-nr is allocated, free, most."""
    words = file_nr.split()
    return int(words[2]) - int(words[0]) if len(words) == 3 else None


def cgroup_room() -> int | None:
    """What the strictest pids.max from our cgroup up to the root leaves; None without a limit."""
    facts, found = read_facts(), []
    legacy = dict(facts.cgroup1)
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        mount = legacy.get("pids", "") if "pids" in controllers.split(",") else "" if controllers else facts.cgroup2
        while mount and path.strip("/"):
            most, now = read(f"{mount}{path}/pids.max").strip(), read(f"{mount}{path}/pids.current").strip()
            found += [int(most) - int(now)] if most.isdigit() and now.isdigit() else []
            path = os.path.dirname(path)
    return min(found, default=None)


def network_room(config: Config) -> tuple[int | None, int | None]:
    """Ports of the bridge and addresses of its subnet that nobody has; (None, None) without the network."""
    with Engine(config) as engine:
        row = engine.home.db.execute("SELECT link, subnet FROM network WHERE name='bridge'").fetchone()
        (taken,) = engine.home.db.execute("SELECT count(*) FROM lease WHERE network='bridge'").fetchone()
    if row is None:
        return None, None
    link, subnet = row
    usable = (1 << 32 - parse_subnet(subnet)[1]) - 1 - FIRST_OFFSET  # the last is the broadcast address
    return BRIDGE_PORTS - len(memory.listing(f"/sys/class/net/{link}/brif")), usable - taken


def told(density: Mapping[str, Any] | None) -> str:
    """One phrase: how many more fit, and what ends it; "" if that was not measured."""
    if not density or not density["limits"]:
        return ""
    first, rivals = density["limits"][0], density.get("may_bind", [])
    if rivals:
        return f"{count(first)} more fit: {' or '.join((first['name'], *rivals))} first, their intervals overlap"
    return f"{count(first)} more fit: {first['name']} {'bind' if first['name'][-1] == 's' else 'binds'} first"


def count(limit: Mapping[str, Any]) -> str:
    """How many, with the interval: 1,009 or 477 [470, 481]."""
    low, high, most = limit.get("low"), limit.get("high"), f"{limit['count']:,.0f}"
    if low is None or low == high:
        return most
    return f"{most} [{low:,.0f}, {'any' if high is None else f'{high:,.0f}'}]"
