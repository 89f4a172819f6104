"""The vetoes that are the same for every choice: too late, too large, too many. Rows of the table of rules. Pure."""

from __future__ import annotations

from twinhull.advice import change, price
from twinhull.advice.rule import Rule
from twinhull.advice.sources import HERE, MEASURED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.advice.question import Choice


def late(choice: Choice) -> Rule:
    """It starts later than the user wishes."""
    return Rule(
        f"a {price.TITLES[choice]} is too late",
        "veto",
        lambda q: 0 < q.wishes.start_within_s < price.least_start(q, choice),
        lambda q: f"{price.starts(q, choice)}, more than {price.within(q)}",
        excludes=(choice,),
        otherwise="it starts later than you said",
        source=MEASURED,
        change=change.MORE_TIME,
    )


def large(choice: Choice) -> Rule:
    """All of them take more memory than they may."""
    return Rule(
        f"{price.TITLES[choice]}s do not fit",
        "veto",
        lambda q: 0 < price.limit_bytes(q) < price.least_memory(q, choice),
        lambda q: f"{price.takes(q, choice)}, more than {price.budget(q)}",
        excludes=(choice,),
        otherwise="the memory runs out",
        source=MEASURED,
        change=change.MORE_MEMORY,
    )


def crowded(choice: Choice) -> Rule:
    """Another limit of this machine lets fewer in: processes, addresses, files, disk, processors."""
    return Rule(
        f"{price.TITLES[choice]}s reach a limit of this machine",
        "veto",
        lambda q: price.crowded(q, choice),
        lambda q: price.room_for(q, choice),
        excludes=(choice,),
        otherwise="the next one does not start, or all of them run short",
        source=HERE,
        change=change.HIGHER_LIMIT,
    )
