"""What the user wished for and no figure of this machine could answer. Pure.

Promise: a wish is either weighed by a rule or named here, with the command that measures what is missing.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.advice.question import Choice, Cost, Question

TITLES = {"container": "a container", "vm": "a VM", "machine": "a machine"}


class Unchecked(NamedTuple):
    """One wish, as it is written on the command line, why it was not checked, and what to type to have it measured."""

    wish: str
    why: str
    command: str

    def sentence(self) -> str:
        """The three together."""
        return f"{self.wish} was not checked: {self.why}; {self.command} measures it"


def unchecked(question: Question, choice: Choice) -> tuple[Unchecked, ...]:
    """Every wish that nothing measured can hold against this answer; () for one that is to stop."""
    if choice == "stop":
        return ()
    command = measuring(question, choice)
    return tuple(Unchecked(wish, why, command) for wish, why in missing(question, choice))


def missing(question: Question, choice: Choice) -> Iterator[tuple[str, str]]:
    """Give (wish, why) of each wish that the chosen one has no figure for."""
    wishes, title = question.wishes, TITLES[choice]
    cost: Cost = getattr(question.measured, choice)
    accelerator = question.here.accelerator.upper() if choice != "container" else ""
    under = f"was measured under this kernel{' and ' if accelerator else ''}{accelerator}"
    if wishes.start_within_s and not cost.start_s:
        yield f"--start-within {as_typed_s(wishes.start_within_s)}", f"no start of {title} {under}"
    if cost.memory_bytes:
        if wishes.instances > 1 and not cost.tasks:
            yield f"--instances {wishes.instances}", f"how many processes and files {title} takes was not measured"
        return
    why = f"no memory of {title} {under}"
    if wishes.memory_budget_bytes:
        yield f"--memory-budget {as_typed_bytes(wishes.memory_budget_bytes)}", why
    if wishes.instances > 1:
        yield f"--instances {wishes.instances}", why


def as_typed_s(value: float) -> str:
    """A time as the flag takes it: 200ms, 1.5s."""
    return f"{value * 1000:g}ms" if value < 1 else f"{value:g}s"


def as_typed_bytes(value: int) -> str:
    """An amount of memory as the flag takes it: 2g, 100m."""
    for power, unit in ((30, "g"), (20, "m"), (10, "k")):
        if value % (1 << power) == 0:
            return f"{value >> power}{unit}"
    return str(value)


def measuring(question: Question, choice: Choice) -> str:
    """The comparison that measures a choice; a machine is no part of a usual one."""
    import shlex  # no start needs it

    subjects = ("--subjects", "container,vm,machine") if choice == "machine" else ()
    image = (question.workload,) if question.packed.architecture else ()
    return shlex.join(("twinhull", "compare", *subjects, *image))
