"""What one more idle instance costs this machine, seen from the host and not from the engine.

Promise: every process below an instance's supervisor is counted, found by the kernel's own lists.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from twinhull.compare import density, portability, probe, settling, stacks, statistics
from twinhull.compare.findings import Findings
from twinhull.compare.session import ENOUGH, ISOLATIONS, Instances, Session
from twinhull.compare.subject import Idle, MeasurementFailed
from twinhull.host import memory
from twinhull.host.facts import read, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinhull.compare.run import Service

SETTLE_S = 0.5
INSTANCES_END = 0.85  # share of the time


def measure_footprint(
    session: Session, image: str, command: tuple[str, ...], meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Start instances one round after the other, and look at all of them when they run.

    Args:
        meanwhile: is done while they settle, before their processor time is looked at.
    """
    findings = session.findings
    findings.template_bytes = template_bytes(session.config.state)
    idle_image, findings.idle_command = idle_command(session, image, command)
    with ExitStack() as stack:
        groups = {subject.name: stack.enter_context(Instances(subject)) for subject in session.living(*ISOLATIONS)}
        alone: dict[str, float] = {}
        for number in range(session.effort.instances):
            if number > ENOUGH and session.ends_early("instances", number, session.effort.instances, INSTANCES_END):
                break
            session.tell(f"memory: instance {number + 1} of {session.effort.instances} on each side")
            for name in session.chance.sample(list(groups), len(groups)):
                start_one(session, groups[name], idle_image)
            if not alone:
                time.sleep(SETTLE_S)
                alone = {name: float(sum(map(own, group.idle))) for name, group in groups.items()}
        time.sleep(SETTLE_S)
        youngest = time.monotonic()
        totals = {name: weigh(findings, name, group.idle, alone[name]) for name, group in groups.items()}
        stacks.observe(session, groups)
        portability.observe_needs(session, groups)
        meanwhile()
        measure_idle(session, groups, youngest)
        density.observe(session, groups, totals)


def template_bytes(state: str) -> int:
    """The memory that the template used last takes, holes not counted; 0 without one."""
    used = [status for name in memory.listing(f"{state}/templates") if (status := saved(f"{state}/templates/{name}"))]
    return max(used, key=lambda status: status.st_mtime).st_blocks * 512 if used else 0


def saved(directory: str) -> os.stat_result | None:
    """The file with a template's memory."""
    try:
        return os.stat(f"{directory}/memory")
    except OSError:
        return None


def start_one(session: Session, group: Instances, image: str) -> None:
    """One more instance, or the reason for the gap.

    One that is kept, as a service is: of what --rm throws away a guest has a layer in memory, and no disk of its own.
    """
    try:
        group.start(image, session.findings.idle_command, kept=True)
    except MeasurementFailed as error:
        session.findings.gap(f"{group.subject.name}.memory_bytes", error.message)


def own(idle: Idle) -> int:
    """What one instance adds to the memory of all that runs: of what others map as well, nothing."""
    return memory.own_bytes(memory.tree(idle.supervisor))


def weigh(findings: Findings, name: str, idle: Sequence[Idle], alone: float) -> list[float]:
    """What each instance takes beside the others. Return the memory of one, of two, of three of them.

    Args:
        alone: what the first took before the second came: with the pages that they share since.
    """
    facts, sizes = read_facts(), [(one, float(own(one))) for one in idle]
    running, each = [one for one, size in sizes if size], [size for _, size in sizes if size]
    if len(each) < len(sizes):
        findings.gap(f"{name}.memory_bytes", f"{len(sizes) - len(each)} of {len(sizes)} instances ended at once")
    if len(each) < 2:
        findings.gap(f"{name}.memory_bytes", "fewer than two instances ran")
    for one, size in zip(running, each, strict=True):
        if len(each) > 1:
            findings.add(f"{name}.memory_bytes", size)
        findings.add(f"{name}.disk_bytes", float(memory.disk_bytes(one.directory)))
        charged = kernel_memory(one, facts.cgroup1, facts.cgroup2)
        if charged is None:
            findings.gap(f"{name}.kernel_bytes", "no memory controller for its cgroup")
        else:
            findings.add(f"{name}.kernel_bytes", float(charged))
    if running:
        findings.parts[name] = parts(running[-1])
    return statistics.growth(alone, each)


def parts(idle: Idle) -> dict[str, float]:
    """The memory of one instance by program."""
    found: dict[str, float] = {}
    for cost in memory.costs(memory.tree(idle.supervisor)):
        name = program(cost.pid) or cost.name
        found[name] = found.get(name, 0.0) + cost.pss_bytes
    return found


def program(pid: int) -> str:
    """The name under which a process was started: the kernel's own is that of a descriptor for some."""
    return read(f"/proc/{pid}/cmdline").split("\0")[0].rpartition("/")[2]


def kernel_memory(idle: Idle, mounts: tuple[tuple[str, str], ...], cgroup2: str) -> int | None:
    """Kernel memory charged to the instance's own cgroup."""
    identity = os.path.basename(idle.directory)
    for pid in memory.tree(idle.supervisor):
        v1, v2 = memory.cgroup_directories(pid, mounts, cgroup2)
        charged = memory.kernel_bytes(v1 if identity in v1 else "", v2 if identity in v2 else "")
        if charged is not None:
            return charged
    return None


def measure_idle(session: Session, groups: dict[str, Instances], youngest: float) -> None:
    """Time on a processor while nothing is asked of the instances, as a share of one CPU."""
    trees = [(name, memory.tree(one.supervisor)) for name, group in groups.items() for one in group.idle]
    time_idle(session, trees, youngest)


def time_idle(session: Session, everyone: Sequence[tuple[str, Sequence[int]]], youngest: float) -> None:
    """The same of (subject, its processes); `youngest` is when the last was started."""
    session.tell("processor time while idle, once it has settled")
    found = settling.measure(everyone, session.effort.idle_s, youngest)
    for (name, _), percent in zip(everyone, found.percent, strict=True):
        if percent is None:
            session.findings.gap(f"{name}.idle_percent", settling.NOT_KNOWN)
        else:
            session.findings.add(f"{name}.idle_percent", percent)
    for name in found.falling:
        session.findings.gap(f"{name}.idle_settled", f"its processor time still fell after {found.took_s:.0f} s")


def waiting(service: Service, command: Sequence[str], seconds: str) -> list[tuple[str, ...]]:
    """What may wait, the best first: the workload only if it went on when it was warmed up."""
    sleeps = ("sleep", seconds)
    return [sleeps] if service.patience_s else [tuple(command), sleeps]


def idle_command(session: Session, image: str, command: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return image and command of an instance that waits: the workload itself if it is a service.

    Otherwise the image's own `sleep`, and where it has none the probe's image.
    """
    seconds = str(int(session.effort.limit_s * 2))  # so that nothing is left if we are killed
    for subject in session.living("container"):
        for words in waiting(session.service, command, seconds):
            with Instances(subject) as instances:
                try:
                    idle = instances.start(image, words)
                except MeasurementFailed:
                    continue
                time.sleep(0.5)
                if len(memory.tree(idle.supervisor)) > 1:  # a supervisor may outlive its program by a moment
                    return image, words
    return session.probe_image, probe.WAIT
