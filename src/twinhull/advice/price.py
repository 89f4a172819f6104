"""What each choice costs in the measured numbers of this machine. Pure.

Promise: a figure that was not measured is not written; one of another image says whose it is.
"""

from __future__ import annotations

from twinhull.advice.question import Cost, Question
from twinhull.quantities import quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TITLES = {"container": "container", "vm": "VM", "machine": "machine"}
DEBIAN = " (measured with Debian)"  # whatever image it was compared with


def of_start(cost: Cost) -> str:
    """How long a start takes, and one that finds a guest in waiting."""
    usual = quantity(cost.start_s, "s")
    return f"{usual}, or {quantity(cost.waiting_s, 's')} where a guest waits" if cost.waiting_s else usual


def fastest(cost: Cost) -> float:
    """The shortest start that was measured; 0 if none was."""
    return min(filter(None, (cost.start_s, cost.waiting_s)), default=0.0)


def of_memory(question: Question, cost: Cost) -> str:
    """What all instances take."""
    return quantity(cost.memory_of(question.wishes.instances), "B")


def whose(question: Question) -> str:
    """Whose figures they are, where they are another image's."""
    measured = question.measured
    return "" if measured.own or not measured.image else f" (measured with {measured.image})"


def machine_start(question: Question) -> float:
    """The shortest start of a machine: what was measured of one, else a VM's, for a machine boots more; 0 for none."""
    return question.measured.machine.start_s or fastest(question.measured.vm)


def machine_memory(question: Question) -> float:
    """The same of the memory that all instances take."""
    measured, count = question.measured, question.wishes.instances
    return measured.machine.memory_of(count) or measured.vm.memory_of(count)


def of_machine_start(question: Question) -> str:
    """What is known of it, as a sentence."""
    if question.measured.machine.start_s:
        return f"a machine starts in {of_start(question.measured.machine)}{DEBIAN}"
    usual = quantity(machine_start(question), "s")
    return f"no machine was measured, and it boots more than a VM, which starts in {usual}{whose(question)}"


def of_machine_memory(question: Question) -> str:
    """The same of the memory."""
    count, taken = question.wishes.instances, quantity(machine_memory(question), "B")
    if question.measured.machine.memory_bytes:
        return f"{many(question, 'machine')} take{'s' * (count == 1)} {taken}{DEBIAN}"
    return f"no machine was measured, and it holds more than a VM, {count:,} of which take {taken}{whose(question)}"


def within(question: Question) -> str:
    """The longest start that will do."""
    return quantity(question.wishes.start_within_s, "s")


def many(question: Question, title: str) -> str:
    """So many instances."""
    count = question.wishes.instances
    return f"{count:,} {title}{'s' * (count != 1)}"


def limit_bytes(question: Question) -> float:
    """What all instances may take: the user's limit, else for several the memory that is free; 0 for any."""
    wishes = question.wishes
    return wishes.memory_budget_bytes or (question.here.free_memory_bytes if wishes.instances > 1 else 0)


def budget(question: Question) -> str:
    """That limit in words."""
    said = "you allow" if question.wishes.memory_budget_bytes else "are free"
    return f"the {quantity(limit_bytes(question), 'B')} that {said}"


def exceeds(question: Question, taken: float) -> bool:
    """True if all instances take more than they may; `taken` is 0 where that was not measured."""
    return 0 < limit_bytes(question) < taken


def saved(question: Question) -> str:
    """How much cheaper a container is than a VM; memory is that of its processes and the kernel's for them."""
    container, vm = question.measured.container, question.measured.vm
    parts = []
    if vm.start_s > container.start_s > 0:
        parts.append(f"starts {vm.start_s / container.start_s:.1f} times as fast")
    if vm.memory_bytes > container.memory_bytes > 0:
        parts.append(f"takes 1/{vm.memory_bytes / container.memory_bytes:.0f} of the RAM and kernel RAM")
    return f"; a container {' and '.join(parts)}{whose(question)}" if parts else ""


def prices(question: Question) -> tuple[tuple[str, str], ...]:
    """Give (quantity, "container 52 ms, VM 360 ms (6.9x)"); () where nothing was measured."""
    count = question.wishes.instances
    rows = [("start", compared(question, lambda cost: cost.start_s, "s"))]
    rows.append(("start, a guest waits", compared(question, lambda cost: cost.waiting_s, "s", ratio=False)))
    rows.append(("memory of one more", compared(question, lambda cost: cost.memory_bytes, "B")))
    if count > 1:
        rows.append((f"memory of {count:,}", compared(question, lambda cost: cost.memory_of(count), "B")))
    rows.append(("kept once for all", compared(question, lambda cost: cost.shared_bytes, "B", ratio=False)))
    return tuple(row for row in rows if row[1])


def compared(question: Question, look: Callable[[Cost], float], unit: str, *, ratio: bool = True) -> str:
    """One quantity of each choice that has it, and how many times a container's it is."""
    base = look(question.measured.container)

    def cells() -> Iterator[str]:
        for name, title in TITLES.items():
            value = look(getattr(question.measured, name))
            if value > 0:
                times = f" ({value / base:.{0 if value / base >= 10 else 1}f}x)" if ratio and 0 < base != value else ""
                if name == "machine" and question.measured.machine_apart:
                    times = " (in another comparison)"
                yield f"{title} {quantity(value, unit)}{times}"

    return ", ".join(cells())
