"""--fail-if: a small language for what must not be so.

    condition = operand ("<" | "<=" | ">" | ">=" | "==" | "!=") number [unit]
    operand   = see `operands`
    number    = digits ["." digits]
    unit      = "s" | "ms" | "us" | "B" | "kB" | "MB" | "GB" | "KiB" | "MiB" | "GiB" | "%" | "x"

Promise: what can be wrong with a condition is found before anything is measured, and the error points at it.
"""

from __future__ import annotations

import operator
import re
from difflib import get_close_matches

from twinhull.compare import figures
from twinhull.compare.outputs import operands
from twinhull.compare.outputs.operands import Operand, Unknown
from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal, NoReturn

    from twinhull.compare.outputs.document import Document
    from twinhull.compare.outputs.operands import Dimension

    Outcome = Literal["so", "not so", "not measured"]

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
UNITS: dict[str, tuple[Dimension, float]] = {
    "s": ("s", 1.0),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "B": ("B", 1.0),
    "kB": ("B", 1e3),
    "MB": ("B", 1e6),
    "GB": ("B", 1e9),
    "KiB": ("B", 2.0**10),
    "MiB": ("B", 2.0**20),
    "GiB": ("B", 2.0**30),
    "%": ("%", 1.0),
    "x": ("x", 1.0),
}
WANTED = {"s": "a time: 300ms", "B": "a size: 20MB", "%": "per cent: 5%", "x": "a ratio: 5x", "": "a count: 100"}
FORM = re.compile(
    r"\s*(?P<operand>[^\s<>=!]+)\s*(?P<comparison><=|>=|==|!=|<|>)\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*"
    r"(?P<unit>[A-Za-zµ%]*)\s*",
    re.ASCII,
)
EXAMPLE = "vm.startup.template.p50 > 300ms"
EXIT_SO, EXIT_NOT_MEASURED = 3, 4


class Condition(NamedTuple):
    """One condition. `bound` is in the base unit of the operand: seconds, bytes, per cent, or none."""

    expression: str
    operand: Operand
    comparison: str
    bound: float


class Judged(NamedTuple):
    """A condition against a document."""

    expression: str
    outcome: Outcome
    value: float | None
    low: float | None
    high: float | None
    unit: Dimension
    reason: str  # why it was not measured


def parse(text: str) -> Condition:
    """Understand one condition.

    Raises:
        InvalidRequest: it is none; the message points at the place.
    """
    form = FORM.fullmatch(text)
    if form is None:
        refuse(text, *first_wrong(text))
    try:
        operand = operands.parse(form["operand"])
    except Unknown as error:
        place = form.start("operand") + error.place
        close = get_close_matches(error.word, error.known, 4, 0.4) or list(error.known[:9])
        hint = f"did you mean {' or '.join(close)}?" if error.known else "nothing can follow here"
        refuse(text, f"{error.word or 'nothing'} is no {error.kind}", place, len(error.word), hint)
    dimension, factor = UNITS.get(form["unit"]) or ("", 1.0)
    if form["unit"] and form["unit"] not in UNITS:
        refuse(text, f"{form['unit']} is no unit", form.start("unit"), len(form["unit"]), f"one of {', '.join(UNITS)}")
    if dimension != operand.dimension and not (operand.dimension == "x" and not form["unit"]):
        width = form.end("unit") - form.start("number")
        refuse(text, f"{form['operand']} is {WANTED[operand.dimension]}", form.start("number"), width)
    return Condition(text.strip(), operand, form["comparison"], float(form["number"]) * factor)


def first_wrong(text: str) -> tuple[str, int, int]:
    """Where a text stops being a condition: what is missing there, its place and width."""
    steps = (
        (r"\s*[^\s<>=!]+\s*", "a name belongs here"),
        (r"(<=|>=|==|!=|<|>)\s*", "a comparison belongs here: < <= > >= == !="),
        (r"[0-9]+(\.[0-9]+)?\s*", "a number belongs here"),
        (r"[A-Za-zµ%]*\s*", "a unit belongs here"),
    )
    place = 0
    for pattern, expected in steps:
        found = re.compile(pattern, re.ASCII).match(text, place)
        if found is None:
            return expected, place, 1
        place = found.end()
    return "the condition ends before this", place, len(text) - place


def refuse(text: str, why: str, place: int, width: int, hint: str = "") -> NoReturn:
    """Point at what is wrong.

    Raises:
        InvalidRequest: always.
    """
    why, shown = ("".join(letter if letter.isprintable() else "?" for letter in part) for part in (why, text))
    pointer = f"{' ' * place}{'^' * max(width, 1)}"
    raise InvalidRequest(f"--fail-if: {why}\n    {shown}\n    {pointer}", hint=hint or f"for example '{EXAMPLE}'")


def judge(condition: Condition, document: Document) -> Judged:
    """Whether a condition is so in a document."""
    found = operands.evaluate(condition.operand, document)
    outcome: Outcome = "not measured"
    if found.value is not None:
        outcome = "so" if COMPARISONS[condition.comparison](found.value, condition.bound) else "not so"
    unit = condition.operand.dimension
    return Judged(condition.expression, outcome, found.value, found.low, found.high, unit, found.reason)


def judge_all(conditions: Iterable[Condition], document: Document) -> list[dict[str, Any]]:
    """The section `conditions` of a document."""
    return [judge(condition, document)._asdict() for condition in conditions]


def exit_code(judged: Iterable[dict[str, Any]]) -> int:
    """3 if one is so, else 4 if one was not measured, else 0."""
    outcomes = {one["outcome"] for one in judged}
    return EXIT_SO if "so" in outcomes else EXIT_NOT_MEASURED if "not measured" in outcomes else 0


def describe(judged: dict[str, Any]) -> str:
    """One line: the condition, whether it is so, and the figure or the reason."""
    if judged["outcome"] == "not measured":
        return f"{judged['expression']}: not measured ({judged['reason']})"
    return f"{judged['expression']}: {judged['outcome']}, it is {figure(judged)}"


def figure(judged: dict[str, Any]) -> str:
    """The value as it is written for people, with its interval where it has one."""
    value, low, high = (written(judged[name], judged["unit"]) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if low and low != high else value


def written(value: float | None, unit: str) -> str:
    """One value with its unit; "" for none."""
    if value is None:
        return ""
    if unit == "x":
        return f"{figures.factor(value)}x"
    return f"{value:,.0f}" if unit == "" else figures.quantity(value, unit)
