"""One row of the table of rules, and what its weights and choices are called. Pure."""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from twinhull.advice.change import Change
    from twinhull.advice.question import Choice, Question

    Weight = Literal["veto", "strong", "preference", "note"]

CHOICES: tuple[Choice, ...] = ("container", "vm", "machine")
WEIGHTS: tuple[Weight, ...] = ("veto", "strong", "preference", "note")
GUESTS: tuple[Choice, ...] = ("vm", "machine")
WORKLOADS: tuple[Choice, ...] = ("container", "vm")


class Rule(NamedTuple):
    """One row of the table.

    Attributes:
        excludes: the choices that a veto takes away.
        favours: the choice it speaks for, None for none.
        otherwise: what it costs to decide against it.
        source: who says so; "measured here" and "this machine" are observations.
        about: the choices that a note tells of; () for any.
        change: what would make it not fire.
    """

    name: str
    weight: Weight
    applies: Callable[[Question], bool]
    says: Callable[[Question], str]
    excludes: tuple[Choice, ...] = ()
    favours: Choice | None = None
    otherwise: str = ""
    source: str = ""
    change: Change | None = None
    about: tuple[Choice, ...] = ()
