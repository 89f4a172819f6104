"""What a side costs: the time to start, memory, processor, disk.

Promise: the sides take turns in an order left to chance, and the first run of each is thrown away.
"""

from __future__ import annotations

import json
import random
import shlex
import time

from twinhull.compare import figures, settling, statistics
from twinhull.host import memory
from twinhull.prove.evidence import Evidence, Ran
from twinhull.prove.session import IMAGE, Session, Unobserved, isolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinhull.prove.evidence import Side
    from twinhull.prove.session import Kept

# The time since the kernel inside began: it tells a boot from a start without one.
STARTED = ("cat", "/proc/uptime")
SETTLE_S, IDLE_S = 0.3, 2.0
WORK = ("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
HOST_SHELL = "busybox"
SIDES: Sequence[Side] = ("container", "vm")


def starts(session: Session) -> Evidence:
    """Starts: a container, a virtual machine from its template, a virtual machine that boots."""
    return timed_starts(session, STARTED)


def timed_starts(session: Session, command: Sequence[str]) -> Evidence:
    """Time whole commands, from before the process is made to its end; what they print is the uptime inside.

    Raises:
        Unobserved: one of them failed.
    """
    session.prepare("vm")
    words = {side: ("run", "--rm", *isolation(side), IMAGE, *command) for side in SIDES}
    kinds: dict[str, tuple[Side, str]] = {"container": ("container", ""), "vm": ("vm", ""), "boot": ("vm", "cold")}
    times: dict[str, list[float]] = {f"{name}.start_s": [] for name in kinds}
    uptimes: dict[str, list[float]] = {f"{name}.uptime_s": [] for name in kinds}
    effort = session.effort
    rounds = [list(kinds)] * effort.boots + [["container", "vm"]] * (effort.pairs - effort.boots)
    session.must(*words["container"])
    for number, names in enumerate(random.sample(rounds, len(rounds))):
        session.tell(f"Starts: round {number + 1} of {effort.pairs}")
        for name in random.sample(names, len(names)):
            side, kind = kinds[name]
            done = session.must(*words[side], kind=kind)
            times[f"{name}.start_s"].append(done.took_s)
            uptimes[f"{name}.uptime_s"].append(first_number(done.stdout))
    samples = {key: tuple(values) for key, values in (times | uptimes).items()}
    ran = [
        Ran(
            session.shown(words[side], kind),
            f"{spread(samples[f'{name}.start_s'], 's')} to its end; uptime inside"
            f" {figures.quantity(statistics.median(samples[f'{name}.uptime_s']), 's')}",
            len(samples[f"{name}.start_s"]),
        )
        for name, (side, kind) in kinds.items()
    ]
    return Evidence(tuple(ran), {}, samples)


def first_number(text: str) -> float:
    """The first word of the last line, as a number.

    Raises:
        Unobserved: it is none.
    """
    try:
        return float(text.splitlines()[-1].split()[0])
    except (IndexError, ValueError):
        raise Unobserved(f"no uptime came out, but {text!r}") from None


def spread(values: Sequence[float], unit: str) -> str:
    """A median with its interval."""
    return figures.spread(statistics.summarise(values), unit)


def idle(session: Session) -> Evidence:
    """Idle instances: memory, disk and processor time of one more.

    Without --rm, as services are: of what it throws away a guest has a layer in memory, and no disk of its own.
    """
    kept: dict[Side, list[Kept]] = {side: [] for side in SIDES}
    try:
        for _ in range(session.effort.instances):
            for side in random.sample(SIDES, len(SIDES)):
                kept[side].append(session.start(side, "sleep", "600", thrown_away=False))
        youngest = time.monotonic()
        time.sleep(SETTLE_S)
        samples: dict[str, tuple[float, ...]] = {}
        for side in SIDES:
            samples[f"{side}.memory_bytes"] = tuple(map(own, kept[side]))
            samples[f"{side}.disk_bytes"] = tuple(float(memory.disk_bytes(one.directory)) for one in kept[side])
        samples |= idle_time(kept, youngest)
    finally:
        session.end([one.name for side in SIDES for one in kept[side]])
    return Evidence(tuple(described(side, kept[side], samples) for side in SIDES), {}, samples)


def own(kept: Kept) -> float:
    """What one instance adds to the memory of all that runs: of what others map as well, nothing."""
    return float(memory.own_bytes(memory.tree(kept.supervisor)))


def described(side: Side, kept: Sequence[Kept], samples: dict[str, tuple[float, ...]]) -> Ran:
    """What one more idle instance takes."""
    parts = {"memory_bytes": "B RAM", "disk_bytes": "B disk", "idle_percent": "% CPU, idle"}
    said = [f"{spread(samples[f'{side}.{key}'], text[0])}{text[1:]}" for key, text in parts.items()]
    return Ran(kept[0].ran.command, f"one more: {', '.join(said)}", len(kept))


def idle_time(kept: dict[Side, list[Kept]], youngest: float) -> dict[str, tuple[float, ...]]:
    """Time on a processor while nothing is asked of the instances, in per cent of one CPU, once they have settled.

    Raises:
        Unobserved: of no instance of a side it is known.
    """
    everyone = [(side, memory.tree(one.supervisor)) for side in SIDES for one in kept[side]]
    rates = settling.measure(everyone, IDLE_S, youngest)
    found: dict[str, list[float]] = {f"{side}.idle_percent": [] for side in SIDES}
    for (side, _), percent in zip(everyone, rates.percent, strict=True):
        if percent is not None:
            found[f"{side}.idle_percent"].append(percent)
    if not all(found.values()):
        raise Unobserved(settling.NOT_KNOWN)
    return {key: tuple(values) for key, values in found.items()}


def work(session: Session) -> Evidence:
    """The same calculation on the host, in a container and in a virtual machine."""
    commands: dict[str, Sequence[str]] = {"host": (HOST_SHELL, *WORK)}
    shown = {"host": shlex.join(commands["host"])}
    for side in SIDES:
        words = ("exec", session.instance(side).name, *WORK)
        commands[side], shown[side] = session.argv(words), session.shown(words)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(session.effort.works):
        for name in random.sample(list(commands), len(commands)):
            done = session.tool(commands[name], shown[name])
            if done.exit_code:
                raise Unobserved(f"{done.command}: {done.complaint}")
            times[name].append(done.took_s)
    entering: dict[str, float] = {
        side: session.must("exec", session.instance(side).name, "true").took_s for side in SIDES
    }
    samples = {
        f"{name}.work_s": tuple(max(value - entering.get(name, 0.0), 0.0) for value in values)
        for name, values in times.items()
    }
    ran = [Ran(shown[name], spread(samples[f"{name}.work_s"], "s"), session.effort.works) for name in commands]
    return Evidence(tuple(ran), {}, samples)


def storage(session: Session) -> Evidence:
    """What the virtual machines of this host need once, beside their images."""
    session.prepare("vm")
    state = session.config.state
    done = session.tool(("du", "-sLB1", f"{state}/kernels", f"{state}/templates"))
    sizes = [int(line.split()[0]) for line in done.stdout.splitlines()]
    if len(sizes) != 2:
        raise Unobserved(f"{done.command}: {done.complaint or 'no sizes'}")
    listed = session.must("images", "--format", "json")
    image = next((row for row in json.loads(listed.stdout) if f"{IMAGE}:" in row["name"]), {"size_bytes": 0})
    said = f"{figures.quantity(sizes[0], 'B')} kernels, {figures.quantity(sizes[1], 'B')} templates"
    size = float(image["size_bytes"])
    ran = (done.ran(said), listed.ran(f"{IMAGE}: {figures.quantity(size, 'B')}"))
    samples = {"vm.kernels_bytes": (float(sizes[0]),), "vm.templates_bytes": (float(sizes[1]),)}
    return Evidence(ran, {}, {**samples, "image.bytes": (size,)})
