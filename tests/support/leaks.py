"""What a test left behind on the host: the difference between two looks at the kernel's own lists.

Promise: only what workloads of this run can have made is counted. Orphans become children of the test run
(PR_SET_CHILD_SUBREAPER), so processes are told apart by descent. What else is new is ours if it carries a name that a
state directory of ours has given: other tests may run beside this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from twinhull.config import Config
from twinhull.network import bridge

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 5.0  # the kernel takes network namespaces apart after their last process has ended

Look = dict[str, frozenset[str]]
MARKS: set[str] = set()  # parts of names that only we give: state directories, their tags, ids of workloads
NETLINK_NETFILTER = 12
NFT_MSG_NEWGEN, NFT_MSG_GETGEN = (10 << 8) + 15, (10 << 8) + 16  # linux/netfilter/nf_tables.h
AWAITED: set[int] = set()  # children that a test waits for itself, although they lead a session


class Listed:
    """The elements of the packet filter as they were at one of its generations."""

    def __init__(self) -> None:
        self.generation: int | None = None
        self.elements: list[tuple[str, str]] = []


LISTED = Listed()


def groups_named(name: str) -> list[Path]:
    """The control groups with this last name, wherever they are; those of others may come and go meanwhile."""
    return [Path(top) / name for top, below, _ in os.walk("/sys/fs/cgroup") if name in below]


def adopt_orphans() -> None:
    """Make shims that outlive their command children of this process."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def claim(root: Path) -> None:
    """Take note of what this state directory names things by."""
    state = root / "state"
    MARKS.update((str(root), f"{bridge.tag(Config(state=str(state))):08x}"))
    for folder in ("instances", "spares"):
        with contextlib.suppress(FileNotFoundError):
            MARKS.update(identity[:6] for identity in os.listdir(state / folder) if not identity.startswith("."))


def is_ours(name: str) -> bool:
    """True if something of this name was made by this test run."""
    return any(mark in name for mark in MARKS)


def reap() -> None:
    """Collect orphans that have ended; children in our own session belong to whoever started them."""
    for pid in children(os.getpid()):
        with contextlib.suppress(OSError):
            if os.getsid(pid) != os.getsid(0) and pid not in AWAITED:
                os.waitpid(pid, os.WNOHANG)


def children(pid: int) -> list[int]:
    """Pids of a process's children, of all its threads."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def descendants(pid: int) -> Iterator[int]:
    """Pids of all processes below one."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def look() -> Look:
    """Return everything that a workload could leave behind, by kind."""
    reap()
    pids = [pid for pid in descendants(os.getpid()) if not has_ended(pid)]
    return {
        "process": frozenset(map(describe, pids)),
        "namespace": frozenset(namespaces(pids)),
        "mount": frozenset(mounts()),
        "link": frozenset(filter(is_ours, os.listdir("/sys/class/net"))),
        "cgroup": frozenset(cgroups()),
        "nft element": frozenset(nft_elements()),
        "descriptor": frozenset(descriptors()),
    }


def has_ended(pid: int) -> bool:
    """True for a process of which nothing but its status is left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def describe(pid: int) -> str:
    """Name a process so that a reader knows it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return f"{pid} {words or Path(f'/proc/{pid}/comm').read_text().strip() + ' (zombie)'}".strip()
    except OSError:
        return f"{pid}"


def namespaces(pids: list[int]) -> Iterator[str]:
    """Namespaces that only these processes hold, as the kernel names them."""
    for pid in pids:
        for kind in ("mnt", "net", "pid", "ipc", "uts", "cgroup", "user"):
            with contextlib.suppress(OSError):
                name = os.readlink(f"/proc/{pid}/ns/{kind}")
                if name != os.readlink(f"/proc/self/ns/{kind}"):
                    yield name


def mounts() -> Iterator[str]:
    """Mounts in the namespace of the test run: mount point, type and source."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if not is_ours(line):
            continue
        left, _, right = line.partition(" - ")
        yield f"{left.split()[4]} {right.split(' ')[0]} {right.split(' ')[1]}"


def cgroups() -> Iterator[str]:
    """Control groups with a name of ours in their path."""
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            if "twinhull" in top and is_ours(name):
                yield f"{top}/{name}"


def nft_elements() -> Iterator[str]:
    """Elements of the sets and maps of our tables, such as published ports."""
    if not shutil.which("nft"):
        return  # a machine without the tool cannot have made any
    now = nft_generation()
    if now is None or now != LISTED.generation:
        LISTED.generation, LISTED.elements = now, list(every_nft_element())
    yield from (element for table, element in LISTED.elements if is_ours(table))


def every_nft_element() -> Iterator[tuple[str, str]]:
    """The table of each element of the packet filter's, and a line that describes it."""
    done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=False)
    for item in json.loads(done.stdout or "{}").get("nftables", ()):
        for kind in ("set", "map"):
            table = item.get(kind, {}).get("table", "")
            if table.startswith("twinhull"):
                name = f"{item[kind]['family']} {item[kind]['table']} {item[kind]['name']}"
                yield from ((table, f"{name}: {json.dumps(element)}") for element in item[kind].get("elem", ()))


def nft_generation() -> int | None:
    """The number of the packet filter's last change (NFT_MSG_GETGEN), None where the kernel has no such filter.

    To list all rules takes 50 ms, which every test would pay for twice.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as connection:
        connection.send(struct.pack("=IHHIIBBH", 20, NFT_MSG_GETGEN, 1, 0, 0, 0, 0, 0))
        answer = connection.recv(4096)
    number: int = struct.unpack_from(">I", answer, 24)[0]
    return number if struct.unpack_from("=H", answer, 4)[0] == NFT_MSG_NEWGEN else None


def descriptors() -> Iterator[str]:
    """Open files of the test run, but for the one that lists them."""
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            if "/proc/" not in target or "/fd" not in target:
                yield f"{fd} {target}"


def new_since(before: Look) -> dict[str, set[str]]:
    """Return what is there now and was not then."""
    now = look()
    return {kind: set(now[kind] - before[kind]) for kind in now if now[kind] - before[kind]}


def wait_clean(before: Look, patience_s: float = PATIENCE_S) -> dict[str, set[str]]:
    """Give the kernel time to finish, then return what stays: empty is clean.

    What comes up meanwhile is not ours any more: somebody else may work on this machine.
    """
    deadline = time.monotonic() + patience_s
    left = new_since(before)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        now = new_since(before)
        left = {kind: names & now[kind] for kind, names in left.items() if names & now.get(kind, set())}
    return left


def report(left: dict[str, set[str]]) -> str:
    """Return leaks as lines for a failure message."""
    return "\n".join(f"{kind}: {name}" for kind, names in left.items() for name in sorted(names))
