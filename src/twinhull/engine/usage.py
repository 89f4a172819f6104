"""What workloads use: processors, memory, network, disks, processes; of a virtual machine inside and on the host.

Promise: looking costs the workload nothing but the look; what has ended meanwhile uses nothing.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.engine import tools
from twinhull.engine.state import Home, require_group, status
from twinhull.errors import LaunchError, SupervisorLost
from twinhull.host import facts
from twinhull.model import Instance
from twinhull.plan.frames import Kind
from twinhull.runtime import sandbox
from twinhull.runtime.tool import Tool
from twinhull.store import instances
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_USAGE_BYTES = 1 << 16
COUNTERS = ("pids", "cpu_usec", "memory_bytes")
THERE = ("memory_total_bytes", "processors")  # of a guest


class Sample(NamedTuple):
    """One look. Times in seconds and microseconds, sizes in bytes; counters run from the workload's start.

    Attributes:
        host_cpu_usec, host_memory_bytes: of the whole QEMU; of a container the same as its own.
        is_known: False of a paused guest, which cannot be asked: pids, cpu_usec and memory_bytes are 0 then.
    """

    moment: float = 0.0
    pids: int = 0
    cpu_usec: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    host_cpu_usec: int = 0
    host_memory_bytes: int = 0
    is_known: bool = True


class Usage(NamedTuple):
    """What two looks make: the later one, and the share of one processor in percent between them."""

    sample: Sample
    cpu_percent: float
    host_cpu_percent: float


def sample(home: Home, instance: Instance) -> Sample:
    """Look once; a workload that does not run uses nothing."""
    state = status(home, instance)
    if state not in ("running", "paused"):
        return Sample(time.monotonic())
    if instance.isolation == "container":
        require_group("stats")
    try:
        conversation = sandbox.connect(home.directory(instance.id))
        try:
            conversation.send(Kind.STATS)
            host = counters(conversation.expect(Kind.STATS).payload)
        finally:
            conversation.close()
        is_known = instance.isolation != "vm" or state == "running"
        own = nothing() if not is_known else inside(home, instance) if instance.isolation == "vm" else host
    except (SupervisorLost, LaunchError):
        return Sample(time.monotonic())
    received, sent = network(instance)
    read, written = disks(instance.id)
    limit = instances.request_from(instance.request).memory_bytes or memory_here(instance, own)
    moment = time.monotonic()
    pids, cpu, memory = (own[name] for name in COUNTERS)
    return Sample(
        *(moment, pids, cpu, memory, limit, received, sent, read, written),
        host["cpu_usec"],
        host["memory_bytes"],
        is_known,
    )


def counters(payload: bytes) -> dict[str, int]:
    """The three numbers of a STATS frame, and more if there are; a guest wrote it, perhaps."""
    found: Mapping[str, object] = jsontext.loads(payload)
    values = {name: found.get(name, 0) for name in (*COUNTERS, *THERE)}
    return {name: value if isinstance(value, int) and value >= 0 else 0 for name, value in values.items()}


def inside(home: Home, instance: Instance) -> dict[str, int]:
    """The same numbers, of the workload in its guest."""
    with tools.conversation_with(home, instance) as conversation:
        return told(conversation)


def told(conversation: sandbox.Sandbox) -> dict[str, int]:
    """The numbers of a guest that is talked with already."""
    text = Tool(conversation, "usage").everything(MAX_USAGE_BYTES)
    try:
        return counters(text)
    except (ValueError, AttributeError):
        return nothing()


def nothing() -> dict[str, int]:
    """The numbers of a guest that says none."""
    return dict.fromkeys((*COUNTERS, *THERE), 0)


def memory_here(instance: Instance, own: dict[str, int]) -> int:
    """What a workload without limit can take at most: all of its host, or of its guest."""
    if instance.isolation == "vm":
        return own["memory_total_bytes"]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def network(instance: Instance) -> tuple[int, int]:
    """Bytes that came to the workload and left it, from the host's ends of its veths."""
    counts = [f"/sys/class/net/{endpoint.host_link}/statistics" for endpoint in instance.endpoints]
    received = sum(number(facts.read(f"{path}/tx_bytes")) for path in counts)
    return received, sum(number(facts.read(f"{path}/rx_bytes")) for path in counts)


def number(text: str) -> int:
    """The number in a file of the kernel, 0 if it is gone."""
    return int(text) if text.strip().isdecimal() else 0


def disks(identity: str) -> tuple[int, int]:
    """Bytes read from and written to disks: the io controller's, else those of the processes that live."""
    group = f"{facts.cgroup_mounts(facts.read('/proc/self/mountinfo'))[0]}/twinhull/{identity}"
    read = written = 0
    if text := facts.read(f"{group}/io.stat"):
        for word in text.split():
            name, _, value = word.partition("=")
            read += int(value) if name == "rbytes" else 0
            written += int(value) if name == "wbytes" else 0
        return read, written
    for pid in facts.read(f"{group}/cgroup.procs").split():
        fields = dict(line.split(": ") for line in facts.read(f"/proc/{pid}/io").splitlines())
        read += int(fields.get("read_bytes", 0))
        written += int(fields.get("write_bytes", 0))
    return read, written


def between(before: Sample, after: Sample) -> Usage:
    """The share of a processor that was used between two looks."""
    elapsed = max(after.moment - before.moment, 1e-3) * 1e6
    own = max(after.cpu_usec - before.cpu_usec, 0) / elapsed * 100
    host = max(after.host_cpu_usec - before.host_cpu_usec, 0) / elapsed * 100
    return Usage(after, own, host)
