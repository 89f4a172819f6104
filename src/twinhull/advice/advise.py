"""Container, virtual machine, machine or stop: through the table of rules, to an answer that explains itself. Pure.

Promise: it fails closed. Code that is not trusted is never sent into a container, nor behind a wall that
nobody promises unless the user accepts that; where only an unsafe answer is left, the answer is "stop".
"""

from __future__ import annotations

from twinhull.advice import price
from twinhull.advice.change import turns
from twinhull.advice.rule import CHOICES, WEIGHTS, Rule
from twinhull.advice.rules import RULES
from twinhull.advice.sources import COMPARED
from twinhull.advice.unchecked import unchecked
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from twinhull.advice.question import Choice, Question
    from twinhull.advice.rule import Weight
    from twinhull.advice.unchecked import Unchecked

    Role = Literal["decides", "note", "outweighed"]

ROLES: tuple[Role, ...] = ("decides", "note", "outweighed")


class Fired(NamedTuple):
    """A rule that applies, as a sentence, and what became of it."""

    rule: str
    weight: Weight
    role: Role
    sentence: str
    excludes: tuple[Choice, ...]
    otherwise: str
    source: str


class Advice(NamedTuple):
    """The answer.

    Attributes:
        rules: the names of those that decided or note something, the weightiest first.
        reasons: their sentences.
        would_change: what would turn the answer round.
        fired: every rule that applies, but for notes on another choice; the outweighed ones last.
        not_checked: wishes that no figure of this machine could answer.
    """

    choice: Choice
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]
    fired: tuple[Fired, ...] = ()
    not_checked: tuple[Unchecked, ...] = ()


def advise(question: Question) -> Advice:
    """Go through the table."""
    applying = [rule for rule in RULES if rule.applies(question)]
    choice = choose(applying)
    applying = [rule for rule in applying if not rule.about or choice in rule.about]
    listed = [(role_of(rule, choice), rule) for rule in applying]
    listed.sort(key=lambda pair: (ROLES.index(pair[0]), WEIGHTS.index(pair[1].weight)))
    fired = tuple(
        Fired(rule.name, rule.weight, role, rule.says(question), rule.excludes, rule.otherwise, cited(rule, question))
        for role, rule in listed
    )
    heard = [row for row in fired if row.role != "outweighed"]
    return Advice(
        choice,
        tuple(row.rule for row in heard),
        tuple(row.sentence for row in heard),
        turns(question, choice, [rule.change for role, rule in listed if role == "decides" and rule.change], answer),
        fired,
        unchecked(question, choice),
    )


def cited(rule: Rule, question: Question) -> str:
    """Who says so; of a comparison only where the sentence has its figures."""
    return rule.source if price.saved(question) else rule.source.removesuffix(f"; {COMPARED}")


def choose(rules: list[Rule]) -> Choice:
    """What is left after the vetoes and most favoured; the cheapest of what is left where nothing is."""
    left = [choice for choice in CHOICES if not any(choice in rule.excludes for rule in rules)]
    if not left:
        return "stop"
    for weight in WEIGHTS:
        for rule in rules:
            if rule.weight == weight and rule.favours in left:
                return rule.favours
    return left[0]


def role_of(rule: Rule, choice: Choice) -> Role:
    """What became of a rule: a veto has always decided, and so has what speaks for the choice."""
    if rule.weight == "note":
        return "note"
    return "decides" if rule.excludes or rule.favours == choice else "outweighed"


def answer(question: Question) -> Choice:
    """The choice alone."""
    return choose([rule for rule in RULES if rule.applies(question)])


def document(advice: Advice) -> dict[str, Any]:
    """The answer as JSON."""
    rows = {name: [row._asdict() for row in getattr(advice, name)] for name in ("fired", "not_checked")}
    return {**advice._asdict(), **rows}
