"""What running processes cost: proportional memory, processor time, kernel memory of a cgroup.

Promise: a process that ends while it is looked at counts as nothing, never as an error.
"""

from __future__ import annotations

import os

from twinhull.host.facts import read
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Shared memory that only processes of one fork, or of one set of namespaces, can map (proc(5)).
SHARED_WITHIN = ("/dev/zero", "/SYSV", "/dev/shm/")
OF_NO_FILE, OF_A_FILE = frozenset({"Pss:"}), frozenset({"Private_Clean:", "Private_Dirty:"})
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """One process: `pss_bytes` counts a page shared by n processes as 1/n of a page (proc(5))."""

    pid: int
    name: str
    pss_bytes: int
    processor_s: float


def holder(path: str) -> int:
    """Return the pid of the process that holds the flock of a file; 0 if nobody does.

    /proc/locks names the file by device and inode: no one has to tell us who supervises what.
    """
    try:
        status = os.stat(path)
    except OSError:
        return 0
    return lock_owner(read("/proc/locks"), os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)


def lock_owner(locks: str, major: int, minor: int, inode: int) -> int:
    """Find a flock in the text of /proc/locks: `1: FLOCK  ADVISORY  WRITE 811 fe:00:1234 0 EOF`."""
    wanted = f"{major:02x}:{minor:02x}:{inode}"
    for line in locks.splitlines():
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == wanted and words[4].isdigit():
            return int(words[4])
    return 0


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants, from one look at every /proc/PID/stat."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := read(f"/proc/{entry}/stat")):
            children.setdefault(parent(stat), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, [])
    return [number for number in found if os.path.exists(f"/proc/{number}")]


def parent(stat: str) -> int:
    """The parent in the text of /proc/PID/stat; a name may hold spaces and brackets."""
    return int(stat.rpartition(")")[2].split()[1])


def costs(pids: Iterable[int]) -> list[Cost]:
    """Look at each process once; those that are gone are left out."""
    found = []
    for pid in pids:
        stat = read(f"/proc/{pid}/stat")
        if stat:
            name = stat.partition("(")[2].rpartition(")")[0]
            found.append(Cost(pid, name, pss(read(f"/proc/{pid}/smaps_rollup")), processor_time(stat)))
    return found


def pss(rollup: str) -> int:
    """The Pss line of /proc/PID/smaps_rollup, in bytes; 0 for a process without memory of its own."""
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def own_bytes(pids: Iterable[int]) -> int:
    """What would be free without these processes: their memory without the pages of files that others map as well.

    Of a page that is nobody else's, Pss counts 1/n for each of n processes; of a file, so many others may map it that
    Pss says more of them than of these.
    """
    return sum(own(read(f"/proc/{pid}/smaps")) for pid in pids)


def own(smaps: str) -> int:
    """The same of one process, in bytes: Pss of what no file is behind, of files the private pages."""
    total, counted = 0, frozenset[str]()
    for line in smaps.splitlines():
        name, *words = line.split()
        if not name.endswith(":"):  # a mapping: addresses, rights, offset, device, inode and perhaps a path
            within = words[3] == "0" or words[4].startswith(SHARED_WITHIN)
            counted = OF_NO_FILE if within else OF_A_FILE
        elif name in counted:
            total += int(words[0]) * 1024
    return total


def processor_time(stat: str) -> float:
    """User and system time in the text of /proc/PID/stat, in seconds."""
    words = stat.rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * TICK_S


def precise_processor_time(pids: Iterable[int]) -> float | None:
    """Time on a processor of all threads, in seconds: a tick of /proc/PID/stat is too coarse for idle ones.

    None if this kernel keeps no schedstat.
    """
    found = [running for pid in pids for running, _ in scheduled(pid)]
    return sum(found) / 1e9 if found else None


def runnable_time(pid: int) -> float | None:
    """Time that all threads were on a processor or waited for one, in seconds: others' work does not change it.

    None if this kernel keeps no schedstat.
    """
    found = [running + waiting for running, waiting in scheduled(pid)]
    return sum(found) / 1e9 if found else None


def scheduled(pid: int) -> Iterator[tuple[int, int]]:
    """Each thread's time on a processor and its time waiting for one, in ns (Documentation/scheduler/sched-stats)."""
    for thread in listing(f"/proc/{pid}/task"):
        fields = read(f"/proc/{pid}/task/{thread}/schedstat").split()
        if len(fields) >= 2:
            yield int(fields[0]), int(fields[1])


def states(pid: int) -> set[str]:
    """The states of all threads, as /proc/PID/stat has them: R, S, T and so on; none if it is gone."""
    stats = (read(f"/proc/{pid}/task/{thread}/stat") for thread in listing(f"/proc/{pid}/task"))
    return {stat.rpartition(")")[2].split()[0] for stat in stats if stat}


def kernel_bytes(cgroup_v1: str = "", cgroup_v2: str = "") -> int | None:
    """Kernel memory charged to a cgroup; None where no memory controller is there to say."""
    if cgroup_v1 and (text := read(f"{cgroup_v1}/memory.kmem.usage_in_bytes").strip()):
        return int(text)
    for line in read(f"{cgroup_v2}/memory.stat").splitlines() if cgroup_v2 else ():
        if line.startswith("kernel "):
            return int(line.split()[1])
    return None


def cgroup_directories(pid: int, mounts: Iterable[tuple[str, str]], cgroup2: str) -> tuple[str, str]:
    """Return the directories (v1 memory, v2) of a process's cgroups; "" for a hierarchy that is not there."""
    memory, unified = "", ""
    legacy = dict(mounts)
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") and "memory" in legacy:
            memory = legacy["memory"] + path
        elif not controllers and cgroup2:
            unified = cgroup2 + path
    return memory, unified


def disk_bytes(path: str) -> int:
    """Blocks that a directory's files take on the disk, holes not counted, links counted once."""
    total, seen = 0, set()
    for directory, _, files in os.walk(path):
        for name in [*files, "."]:
            try:
                status = os.lstat(f"{directory}/{name}")
            except OSError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
    return total


def listing(path: str) -> list[str]:
    """The names in a directory of the kernel; none if it is gone."""
    try:
        return os.listdir(path)
    except OSError:
        return []
