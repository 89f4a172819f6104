"""What this machine has left of everything that instances share, and how many more of a kind that lets in.

Promise: what is left is read from the kernel when it is asked for; a limit that could not be read is left out, never
guessed.
"""

from __future__ import annotations

import os

from twinhull.advice.question import Limit
from twinhull.engine.state import Home
from twinhull.host import memory
from twinhull.host.facts import read, read_facts
from twinhull.host.machine import meminfo
from twinhull.network.leases import BRIDGE_PORTS, capacity, parse_subnet
from twinhull.quantities import quantity as size
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from sqlite3 import Connection

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


def ranked(weights: Weights, room: Room) -> list[Limit]:
    """Every limit with its interval, the one that binds first at the beginning."""
    most, fewest = ({one.name: one.most for one in limits(weight, room)} for weight in (weights.low, weights.high))
    return [
        limit._replace(low=fewest.get(limit.name, limit.most), high=most.get(limit.name))
        for limit in limits(weights.middle, room)
    ]


def limits(weight: Weight, room: Room) -> list[Limit]:
    """Every limit that one instance draws on, the one that binds first at the beginning. Pure."""

    def quotient(name: str, left: float | None, each: float, basis: str) -> list[Limit]:
        if left is None or left < 0 or each <= 0:
            return []
        most = int(left // each)
        return [Limit(name, most, basis, most, most)]

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


def read_room(home: Home, networks: Iterable[str] = ("bridge",)) -> Room:
    """Ask the kernel what is left of everything that instances share, those of these networks."""
    storage = os.statvfs(home.config.state)
    found = [network_room(home.db, name) for name in networks]
    return Room(
        memory_bytes=meminfo(read("/proc/meminfo")).get("MemAvailable"),
        disk_bytes=storage.f_bavail * storage.f_frsize,
        processor_percent=100.0 * len(os.sched_getaffinity(0)),
        tasks=tasks_room(read("/proc/loadavg"), read("/proc/sys/kernel/pid_max"), read("/proc/sys/kernel/threads-max")),
        cgroup_tasks=cgroup_room(),
        files=files_room(read("/proc/sys/fs/file-nr")),
        ports=min((ports for ports, _ in found if ports is not None), default=None),
        addresses=min((addresses for _, addresses in found if addresses is not None), default=None),
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


def network_room(db: Connection, network: str) -> tuple[int | None, int | None]:
    """Ports of a network's bridge and addresses of its subnet that nobody has; (None, None) while it was not made."""
    row = db.execute("SELECT link, subnet FROM network WHERE name=?", (network,)).fetchone()
    (taken,) = db.execute("SELECT count(*) FROM lease WHERE network=?", (network,)).fetchone()
    if row is None:
        return None, None
    link, subnet = row
    left = capacity(parse_subnet(subnet)[1]) - int(taken)
    return BRIDGE_PORTS - len(memory.listing(f"/sys/class/net/{link}/brif")), left


def tasks_and_files(pids: Iterable[int]) -> tuple[int, int]:
    """The tasks of these processes and the files that they hold open."""
    both = [(len(memory.listing(f"/proc/{pid}/task")), len(memory.listing(f"/proc/{pid}/fd"))) for pid in pids]
    return sum(tasks for tasks, _ in both), sum(files for _, files in both)
