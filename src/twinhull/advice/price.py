"""What each choice costs in the measured numbers of this machine. Pure.

Promise: a figure that was not measured is not written; one of another image says whose it is.
"""

from __future__ import annotations

from twinhull.advice.question import Cost, Question
from twinhull.quantities import quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinhull.advice.question import Choice, Limit

TITLES = {"container": "container", "vm": "VM", "machine": "machine"}
NOTHING = Cost()
ONE_EACH = ("addresses", "bridge ports", "namespaces")  # limits that take no measurement
DEBIAN = " (measured with Debian)"  # whatever image it was compared with


def of_start(cost: Cost) -> str:
    """How long a start takes."""
    return quantity(cost.start_s, "s")


def whose(question: Question, choice: Choice = "vm") -> str:
    """Whose figures they are, where they are another image's."""
    measured = question.measured
    if choice == "machine":
        return DEBIAN if cost_of(question, choice) != NOTHING else ""
    return "" if measured.own or not measured.image else f" (measured with {measured.image})"


def cost_of(question: Question, choice: Choice) -> Cost:
    """What was measured of a choice."""
    found: Cost = getattr(question.measured, choice)
    return found


def least_start(question: Question, choice: Choice) -> float:
    """The shortest start that was measured of a choice, 0 for none; a machine takes at least what a VM takes."""
    vm = question.measured.vm.start_s if choice == "machine" else 0.0
    return cost_of(question, choice).start_s or vm


def least_memory(question: Question, choice: Choice) -> float:
    """The same of the memory that all instances take."""
    count = question.wishes.instances
    vm = question.measured.vm.memory_of(count) if choice == "machine" else 0.0
    return cost_of(question, choice).memory_of(count) or vm


def starts(question: Question, choice: Choice) -> str:
    """That start as a sentence."""
    cost = cost_of(question, choice)
    if cost.start_s:
        return f"a {TITLES[choice]} starts in {of_start(cost)}{whose(question, choice)}"
    usual = quantity(least_start(question, choice), "s")
    return f"a machine (none was measured) boots more than a VM, and that starts in {usual}{whose(question, 'vm')}"


def takes(question: Question, choice: Choice) -> str:
    """The same of the memory."""
    taken, count = quantity(least_memory(question, choice), "B"), question.wishes.instances
    if cost_of(question, choice).memory_bytes:
        return f"{many(question, TITLES[choice])} take{'s' * (count == 1)} {taken}{whose(question, choice)}"
    usual = f"{many(question, 'VM')} take{'s' * (count == 1)} {taken}{whose(question, 'vm')}"
    return f"a machine (none was measured) holds more than a VM, and {usual}"


def binding(name: str) -> str:
    """That a limit is the first to be reached."""
    return f"{name} {'bind' if name[-1] == 's' else 'binds'} first"


def first_limit(question: Question, choice: Choice) -> Limit | None:
    """The limit of this machine that ends instances of a choice first; None if nobody looked."""
    found: tuple[Limit, ...] = getattr(question.room, choice)
    return found[0] if found else None


def crowded(question: Question, choice: Choice) -> bool:
    """True if a limit other than memory lets fewer in."""
    limit = first_limit(question, choice)
    return limit is not None and limit.most < question.wishes.instances


def room_for(question: Question, choice: Choice) -> str:
    """How many more it lets in, and from what that was computed; "" if nobody looked."""
    limit = first_limit(question, choice)
    if limit is None:
        return ""
    one = limit.most == 1
    more = f"at most {limit.most:,} more {TITLES[choice]}{'s' * (not one)} fit{'s' * one} here"
    apart = choice == "machine" and not question.measured.machine.tasks and question.measured.vm != NOTHING
    least = f"; a machine takes at least what a VM takes{whose(question)}" if apart else whose(question, choice)
    least = "" if limit.name in ONE_EACH else least
    return f"{more}, not {question.wishes.instances:,}: {binding(limit.name)}, {limit.basis}{least}"


def within(question: Question) -> str:
    """The longest start that will do."""
    return quantity(question.wishes.start_within_s, "s")


def many(question: Question, title: str) -> str:
    """So many instances."""
    count = question.wishes.instances
    return f"{count:,} {title}{'s' * (count != 1)}"


def limit_bytes(question: Question) -> float:
    """What all instances may take: the user's limit, for several no more than the memory that is free; 0 for any."""
    wishes = question.wishes
    free = question.here.free_memory_bytes if wishes.instances > 1 else 0
    return min(filter(None, (wishes.memory_budget_bytes, free)), default=0)


def budget(question: Question) -> str:
    """That limit in words."""
    limit = limit_bytes(question)
    return (
        f"the {quantity(limit, 'B')} that {'you allow' if limit == question.wishes.memory_budget_bytes else 'are free'}"
    )


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
