"""A full guest operating system as the third side: a Debian with its own init, on its own disk.

Promise: its first byte is that of a command which its own system runs as soon as it answers; nothing of it is
taken from the virtual machine of an image. It goes first and by itself: one start takes longer than all others
together. What it cannot be compared in is a gap with its reason.
"""

from __future__ import annotations

import os
import time

from twinhull.compare import abandoned, clocks, footprint
from twinhull.compare.inside import monitor_of
from twinhull.compare.session import Session
from twinhull.compare.subject import Idle
from twinhull.engine import Engine
from twinhull.engine.room import tasks_and_files
from twinhull.errors import TwinhullError
from twinhull.host import machine, memory, stack
from twinhull.host.facts import read_facts
from twinhull.machine import agent, boot
from twinhull.model import Request
from twinhull.runtime.hypervisor import find_hypervisor, version
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.machine.agent import Agent
    from twinhull.machine.clock import Clock
    from twinhull.machine.inside import Inside

NAME = "machine"
STARTS = {"quick": 1, "full": 3}
EXECS = 5
SETTLE_S = 120.0
TRIED = "what tries it comes in an image"
GAPS = {
    "total_s": "it goes on until it is stopped",
    "healthy_s": "it runs no image",
    "copies_s": "one start takes longer than the other copies together",
    "calls": TRIED,
    "probes": TRIED,
    "load": TRIED,
    "only": TRIED,
    "density": "one machine has no slope",
    "portability": "its disk is no image to save",
}


def measure(session: Session) -> None:
    """Start it, look inside, weigh it and stop it, as often as the effort says."""
    if not session.findings.runs(NAME):
        return
    try:
        with Engine(session.config) as engine:
            measure_with(session, engine)
    except TwinhullError as error:
        session.findings.gap(NAME, error.message)


def measure_with(session: Session, engine: Engine) -> None:
    """The same with an engine.

    Raises:
        TwinhullError: its disk cannot be made, or it does not come up.
    """
    name, starts = f"compare-{os.getpid()}-{NAME}", STARTS[session.effort.name]
    session.tell("a full guest OS: its disk, made once for this machine in a minute or two")
    request = Request("", name=name, memory_bytes=boot.DEFAULT_MEMORY_BYTES, labels=(abandoned.label(),))
    instance = engine.create_machine("", request)
    chosen = boot.choose_accelerator(session.config, find_hypervisor(session.config), session.tell)  # by no start
    directory = engine.home.directory(instance.id)
    try:
        for number in range(starts):
            session.tell(f"a full guest OS: start {number + 1} of {starts}")
            began = time.monotonic()
            took = engine.start_clocked(name)
            keep_clocks(session, took, first_byte(directory) - began)
            session.tell("a full guest OS: inside, memory, processor time")
            idle = Idle(name, directory, memory.holder(f"{directory}/alive"))
            look(session, engine, idle)
            weigh(session, idle, began)
            session.findings.accelerator, session.findings.accelerator_reason = chosen.accelerator, chosen.reason
            began = time.monotonic()
            engine.stop(name)
            session.findings.add(f"{NAME}.stop_s", time.monotonic() - began)
    finally:
        engine.remove(name, force=True)
    for quantity, reason in GAPS.items():
        session.findings.gap(f"{NAME}.{quantity}", reason)


def first_byte(directory: str) -> float:
    """When the first byte of a command came out, in the time of time.monotonic()."""
    with agent.asking(directory) as guest:
        guest.run("echo", "hi")
        return time.monotonic()


def keep_clocks(session: Session, took: Clock, first_s: float) -> None:
    """Keep each clock that was seen, and the phases between them."""
    moments = {"spawned_s": took.spawned, "kernel_s": took.kernel, "init_s": took.init, "ready_s": took.up}
    for quantity, moment in {**moments, "first_output_s": first_s}.items():
        if moment is not None:
            session.findings.add(f"{NAME}.{quantity}", moment)
    for phase, seconds in phases(took, first_s).items():
        session.findings.add(clocks.sample_key(NAME, phase), seconds)


def phases(took: Clock, first_s: float) -> dict[str, float]:
    """Phase -> seconds. Pure. The engine's part is not seen apart from the monitor's; init is all of the system.

    Empty unless every clock was seen: a phase without an end would be a guess.
    """
    if took.kernel is None or took.init is None or took.up is None:
        return {}
    ends = (("engine", took.spawned), ("vmm", took.kernel), ("kernel", took.init), ("init", took.up), ("app", first_s))
    before, found = 0.0, {}
    for name, end in ends:
        found[name] = max(end - before, 0.0)
        before = max(end, before)
    return found


def look(session: Session, engine: Engine, idle: Idle) -> None:
    """What its own system tells of itself once it has settled, round trips into it, and the layers under it."""
    inside = engine.inside(idle.name, wait_s=SETTLE_S)
    with agent.asking(idle.directory) as guest:
        told = own_words(guest)
        for _ in range(EXECS):
            began = time.monotonic()
            guest.run("true")
            session.findings.add(f"{NAME}.exec_s", time.monotonic() - began)
    session.findings.inside[NAME] = {
        **told,
        "release": inside.system.kernel,
        "system": inside.system.name,
        "process-1": inside.init,
        "processes": str(inside.processes),
        "services": " ".join((str(len(inside.services)), *inside.services)),
        "memory-kb": str(inside.memory_bytes // 1024),
        "disk-bytes": str(disk_bytes(engine, idle.name)),
        "architecture": os.uname().machine,
    }
    session.findings.machine_monitor = monitor_of(stack.monitor_pid(idle.supervisor))
    session.layers[NAME] = layers(engine, idle, inside)


def own_words(guest: Agent) -> dict[str, str]:
    """The identity of its boot, and its processors."""
    asked = {"boot-id": ("cat", "/proc/sys/kernel/random/boot_id"), "processors": ("nproc",)}
    return {name: guest.run(*argv)[1].strip()[:40] for name, argv in asked.items()}


def disk_bytes(engine: Engine, name: str) -> int:
    """The size of the disk that it was made from: what would be moved to have it elsewhere."""
    disk = instances.request_from(engine.find(name).request).disk
    return os.stat(disk.path).st_size if disk else 0


def layers(engine: Engine, idle: Idle, inside: Inside) -> tuple[stack.Layer, ...]:
    """The layers under it, from the host up to its services."""
    found = inside.system
    system = stack.System(
        engine.find(idle.name).image,
        found.name,
        found.kernel,
        inside.init,
        inside.processes,
        tuple(sorted(inside.services)),
    )
    accelerator = stack.accelerator_of(stack.monitor_pid(idle.supervisor))
    monitor = stack.Hypervisor(version(find_hypervisor(engine.config)), accelerator, guest_origin="")
    names = [cost.name for cost in memory.costs(memory.tree(idle.supervisor))]
    return stack.system_layers(machine.read_machine(), monitor, system, processes=names)


def weigh(session: Session, idle: Idle, started: float) -> None:
    """Memory, disk and idle processor time; pages shared with other machines count in part."""
    findings, facts = session.findings, read_facts()
    findings.add(f"{NAME}.memory_bytes", sum(footprint.parts(idle).values()))
    findings.add(f"{NAME}.disk_bytes", float(memory.disk_bytes(idle.directory)))
    findings.parts[NAME] = footprint.parts(idle)
    tasks, files = tasks_and_files(memory.tree(idle.supervisor))
    findings.weights[NAME] = {"tasks": tasks, "files": files}
    charged = footprint.kernel_memory(idle, facts.cgroup1, facts.cgroup2)
    if charged is None:
        findings.gap(f"{NAME}.kernel_bytes", "no memory controller for its cgroup")
    else:
        findings.add(f"{NAME}.kernel_bytes", float(charged))
    footprint.time_idle(session, [(NAME, memory.tree(idle.supervisor))], started)
