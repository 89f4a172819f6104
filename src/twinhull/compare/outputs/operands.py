"""What a condition may speak of: a subject's quantity, a ratio of two subjects, the noise, the time it took.

    SUBJECT.QUANTITY[.VARIANT][.STATISTIC]     vm.startup.template.p95, container.memory, vm_cold.first_output_s
    FIRST/SECOND.QUANTITY[.VARIANT][.low|high] vm/container.startup, vm/container.startup.cold.high
    SUBJECT.phase.PHASE[.STATISTIC]            vm.phase.init.p95, vm_cold.phase.kernel
    SUBJECT.load.LOAD[.low|high]               container.load.cpu: the ratio to a plain process
    SUBJECT.density, noise, took

Promise: a name that is accepted is one of the table in `quantities`; nothing is looked up in a measurement to parse it.
"""

from __future__ import annotations

from twinhull.compare import statistics
from twinhull.compare.outputs import document, quantities
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from twinhull.compare.outputs.document import Document
    from twinhull.compare.statistics import Summary

    Dimension = Literal["s", "B", "%", "x", ""]

STATISTICS: dict[str, Callable[[Summary], float]] = {
    "median": lambda summary: summary.median,
    "p50": lambda summary: summary.median,
    "p95": lambda summary: summary.p95,
    "low": lambda summary: summary.low,
    "high": lambda summary: summary.high,
}
# Of fewer not even one is expected above the 95th percentile: what is called so is the largest but little.
FEWEST_OF_P95 = 20
RATIO_STATISTICS = ("low", "high")
MEDIANS = ("median", "p50")
WHOLE: dict[str, Dimension] = {"noise": "%", "took": "s"}
DENSITY, LOAD, PHASE = "density", "load", "phase"
BOOTED = {"phase_kernel_s": "vm_cold.phase.kernel", "kernel_s": "vm_cold.kernel"}  # quantity -> where a kernel boots


class Unknown(Exception):
    """A word that is no name here.

    Attributes:
        place: its offset in the operand.
        known: the words that could stand there.
    """

    def __init__(self, word: str, place: int, known: Sequence[str], kind: str) -> None:
        super().__init__(word)
        self.word, self.place, self.known, self.kind = word, place, tuple(known), kind


class Operand(NamedTuple):
    """One name, understood.

    Attributes:
        subject: "" for what is said of the whole run.
        other: the second subject of a ratio, else "".
        quantity: a key of QUANTITIES, or density, noise, took.
        statistic: of STATISTICS; "" is the ratio itself.
        dimension: which units a number beside it may have.
    """

    subject: str
    other: str
    quantity: str
    statistic: str
    dimension: Dimension


class Value(NamedTuple):
    """What an operand is in one document. None: not measured, and `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def parse(text: str) -> Operand:
    """Understand a name.

    Raises:
        Unknown: a word of it is not known.
    """
    if text in WHOLE:
        return Operand("", "", text, "", WHOLE[text])
    head, dot, rest = text.partition(".")
    if not dot:
        raise Unknown(head, 0, (*(f"{name}.startup" for name in quantities.SUBJECTS), *WHOLE), "name")
    subject, slash, other = head.partition("/")
    for name, place in ((subject, 0), *(((other, len(subject) + 1),) if slash else ())):
        if name not in quantities.SUBJECTS:
            raise Unknown(name, place, tuple(quantities.SUBJECTS), "subject")
    words = rest.split(".")
    place = len(head) + 1
    if slash:
        return of_words(subject, other, words, place)
    if words == [DENSITY]:
        return Operand(subject, "", DENSITY, "", "")
    if words[0] == LOAD:
        name, statistic = of_part(words, place, quantities.LOADS, RATIO_STATISTICS, "")
        return Operand(subject, "", f"{quantities.LOAD}{name}", statistic, "x")
    if words[0] == PHASE:
        name, statistic = of_part(words, place, quantities.PHASES, tuple(STATISTICS), "median")
        return Operand(subject, "", f"{quantities.PHASE}{name}_s", statistic, "s")
    return of_words(subject, other, words, place)


def of_part(
    words: Sequence[str], place: int, known: Sequence[str], statistics_known: Sequence[str], statistic: str
) -> tuple[str, str]:
    """Understand phase.NAME[.STATISTIC] or load.NAME[.STATISTIC]: the name and the statistic."""
    place += len(words[0]) + 1
    name, *rest = words[1:] or [""]
    if name not in known:
        raise Unknown(name, place, known, words[0])
    place += len(name) + 1
    for word, allowed in zip(rest, (statistics_known, *[()] * len(rest)), strict=False):
        if word not in allowed:
            raise Unknown(word, place, allowed, "statistic")
        statistic, place = word, place + len(word) + 1
    return name, statistic


def of_words(subject: str, other: str, words: Sequence[str], place: int) -> Operand:
    """Understand QUANTITY[.VARIANT][.STATISTIC] behind its subjects; `place` is where it begins."""
    quantity = quantities.BY_NAME.get(words[0]) or quantities.BY_KEY.get(words[0])
    if quantity is None:
        known = (*quantities.BY_NAME, *quantities.BY_KEY, *(() if other else (DENSITY, LOAD, PHASE)))
        raise Unknown(words[0], place, known, "quantity")
    statistics_known = RATIO_STATISTICS if other else tuple(STATISTICS)
    statistic = "" if other else "median"
    place += len(words[0]) + 1
    variants = tuple(quantities.VARIANTS) if subject == "vm" else ()
    for word in words[1:]:
        if word in variants:
            subject = quantities.VARIANTS[word]
            variants = ()
        elif word in statistics_known:
            statistic, statistics_known, variants = word, (), ()
        else:
            raise Unknown(word, place, (*variants, *statistics_known), "statistic")
        place += len(word) + 1
    return Operand(subject, other, quantity.key, statistic, "x" if other else quantity.unit)


def evaluate(operand: Operand, result: Document) -> Value:
    """What an operand is in a document; a percentage of noise in per cent."""
    if operand.quantity == "noise":
        noise = result["host"]["noise"]
        return Value(None, reason="the noise was not measured") if noise is None else Value(100 * noise)
    if operand.quantity == "took":
        return Value(result["took_s"])
    if operand.quantity == DENSITY:
        return density(operand.subject, result)
    if operand.quantity.startswith(quantities.LOAD):
        return under_load(operand, result)
    if operand.other:
        return ratio(operand, result)
    key = f"{operand.subject}.{operand.quantity}"
    summary = document.summary(result, key)
    if summary is None:
        return Value(None, reason=missing(result, key))
    if operand.statistic == "p95" and summary.size < FEWEST_OF_P95:
        return Value(
            None, reason=f"too few samples: {key} has {summary.size}, a p95 means something from {FEWEST_OF_P95}"
        )
    if summary.bounds == "interval":
        bounds = (summary.low, summary.high) if operand.statistic in MEDIANS else ()  # the interval is the median's
        return Value(STATISTICS[operand.statistic](summary), *bounds)
    if operand.statistic in RATIO_STATISTICS:
        return Value(None, reason=few(key, summary.size))
    return Value(STATISTICS[operand.statistic](summary))


def density(subject: str, result: Document) -> Value:
    """How many fit: the count of the limit that is reached first."""
    found = result.get("density", {}).get(subject)
    if not found or not found["limits"]:
        return Value(None, reason=document.reason(result, f"{subject}.density", "density", subject))
    first = min(found["limits"], key=lambda limit: limit["count"])
    ends = (first.get("low"), first.get("high")) if found.get("bounds", "interval") == "interval" else ()
    return Value(first["count"], *ends)


def under_load(operand: Operand, result: Document) -> Value:
    """A subject's ratio to a plain process."""
    name = operand.quantity.removeprefix(quantities.LOAD)
    for item in result.get("load", ()):
        if item["name"] == name:
            found = item["subjects"].get(operand.subject, {})
            if found.get("ratio"):
                if found.get("ratio_bounds") == "range":
                    reason = f"{operand.subject}.{operand.quantity}: a few values have a range and no interval"
                    return Value(None, reason=reason) if operand.statistic else Value(found["ratio"])
                low, high = found.get("ratio_low"), found.get("ratio_high")
                return Value({"": found["ratio"], "low": low, "high": high}[operand.statistic], low, high)
            if item.get("gap"):
                return Value(None, reason=item["gap"])
    return Value(None, reason=document.reason(result, f"{operand.subject}.{operand.quantity}", LOAD, operand.subject))


def ratio(operand: Operand, result: Document) -> Value:
    """One subject's median divided by the other's, with its interval."""
    keys = [f"{subject}.{operand.quantity}" for subject in (operand.subject, operand.other)]
    for key in keys:
        if not result["samples"].get(key):
            return Value(None, reason=missing(result, key))
    found = statistics.compare(*(result["samples"][key] for key in keys))
    if found is None:
        return Value(None, reason=f"{keys[0]} or {keys[1]} is 0: there is no ratio")
    if found.bounds == "interval":
        chosen = {"": found.value, "low": found.low, "high": found.high}[operand.statistic]
        return Value(chosen, found.low, found.high)
    if operand.statistic:
        least = min(keys, key=lambda key: len(result["samples"][key]))
        return Value(None, reason=few(least, len(result["samples"][least])))
    return Value(found.value)


def few(key: str, size: int) -> str:
    """Why there is no end of an interval."""
    return f"{key}: {size} value{'s' * (size != 1)} have a range and no interval"


def missing(result: Document, key: str) -> str:
    """Why a key has no samples. A guest that does not run takes its variants with it."""
    subject, _, quantity = key.partition(".")
    if quantity in BOOTED and subject in ("vm", "vm_template") and not {key, subject, "vm"} & result["gaps"].keys():
        return f"{key}: no kernel boots where a guest starts from a template; {BOOTED[quantity]} has it"
    return f"{key}: {document.reason(result, key, subject, subject.partition('_')[0])}"
