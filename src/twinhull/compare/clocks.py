"""The clocks of one start: moments after the command's begin, and the phases between them. Pure.

Promise: a phase ends where the next begins, so the phases of a run add up to what they divide; one whose
end nobody saw is left out, never guessed.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Phase(NamedTuple):
    """A stretch of a start. `ends` names the marks that may end it (Config.mark, or seen from outside)."""

    name: str
    ends: tuple[str, ...]
    title: str


FIRST, ENDED, CLEAN = "first", "ended", "clean"  # seen from outside; all other marks are the command's own
PHASES = (
    Phase("interpreter", ("settings",), "Python, its modules, the settings"),
    Phase("engine", ("planned",), "image, database, network, plan"),
    Phase("vmm", ("processor", "resumed"), "jail and QEMU, until its processor runs"),
    Phase("kernel", ("agent",), "firmware and kernel, until process 1"),
    Phase("init", ("ready",), "namespaces, mounts, limits: the plan performed"),
    Phase("app", (FIRST,), "exec and the program itself, to its first byte"),
    Phase("exit", (ENDED,), "from the first byte to the command's end"),
    Phase("clean", (CLEAN,), "until its supervisor has undone everything"),
)
# Clocks from the command's begin that are worth a name of their own: quantity -> mark.
CLOCKS = {
    "spawned_s": ("planned",),
    "kernel_s": ("processor",),
    "init_s": ("agent", "resumed"),
    "ready_s": ("ready",),
    "clean_s": (CLEAN,),
}


def parse_trace(text: str) -> tuple[dict[str, int], dict[str, str]]:
    """Read a trace (Config.mark): step -> nanoseconds of CLOCK_MONOTONIC, and step -> note.

    A step that was marked twice, as by a start that fell back, counts as its last.
    """
    moments, notes = {}, {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            moments[words[0]] = int(words[1])
            notes[words[0]] = words[2] if len(words) > 2 else ""
    return moments, notes


def since(began_s: float, moments_ns: Mapping[str, int]) -> dict[str, float]:
    """Moments as seconds after the beginning, both of CLOCK_MONOTONIC."""
    return {step: moment / 1e9 - began_s for step, moment in moments_ns.items()}


def phases(moments: Mapping[str, float]) -> dict[str, float]:
    """Phase -> seconds, of one run; nothing unless the run has the marks that every start of ours has."""
    if not {"settings", "planned", "ready", FIRST} <= moments.keys():
        return {}
    found, before = {}, 0.0
    for phase in PHASES:
        end = first_of(moments, phase.ends)
        if end is not None:
            found[phase.name] = max(end - before, 0.0)
            before = max(end, before)
    return found


def clocks(moments: Mapping[str, float]) -> dict[str, float]:
    """Quantity -> seconds after the command's begin, of the clocks that this run has."""
    found = {quantity: first_of(moments, marks) for quantity, marks in CLOCKS.items()}
    return {quantity: moment for quantity, moment in found.items() if moment is not None}


def first_of(moments: Mapping[str, float], marks: Iterable[str]) -> float | None:
    """The moment of the first of these marks that is there."""
    return next((moments[mark] for mark in marks if mark in moments), None)


def shares(medians: Mapping[str, float]) -> dict[str, float]:
    """Each phase's share of them all."""
    whole = sum(medians.values())
    return {name: median / whole for name, median in medians.items()} if whole > 0 else {}


def sample_key(subject: str, phase: str) -> str:
    """Under which name a phase's seconds are kept."""
    return f"{subject}.phase_{phase}_s"


def ordered(names: Sequence[str]) -> list[str]:
    """Phases in the order in which they happen."""
    return [phase.name for phase in PHASES if phase.name in names]
