"""Medians, intervals and ratios of measured values, without assumptions about their distribution.

Promise: the same samples give the same figures (the resampling is seeded), and a difference that
the samples do not show is never called one. Fewer than six values have a range and no interval.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from bisect import bisect_left, bisect_right

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal, ParamSpec, TypeVar

    Given = ParamSpec("Given")
    Result = TypeVar("Result")
    Bounds = Literal["interval", "range"]

# From the smallest to the largest of five values lies the median of what they come from in 94 % of all cases
# (1 - 2 / 2 ** 5): no interval within them reaches 95 %.
FEWEST = 6
SIGNIFICANT = 0.05
RESAMPLES = 2000
CONFIDENCE = 0.95
MAD_TO_SIGMA = 1.4826  # of a normal distribution
MOST_EXACT = 8  # values of the smaller side of a rank test whose chances are counted and not approximated


class Summary(NamedTuple):
    """One quantity: `low` and `high` are the 95 % interval of the median, or of few values the range."""

    size: int  # how many samples
    median: float
    p95: float
    low: float
    high: float

    @property
    def bounds(self) -> Bounds:
        """What `low` and `high` are."""
        return bounds(self.size)

    def document(self) -> dict[str, float | str]:
        """As the JSON has it."""
        return {**self._asdict(), "bounds": self.bounds}


class Ratio(NamedTuple):
    """How many times larger one quantity is than another.

    Attributes:
        low: lower end of the 95 % interval; of few values on a side the smallest ratio of any two.
        shown: the interval does not include 1; of few values, an exact rank test tells the sides apart.
        resolution: the smallest difference that samples with this spread could have shown (0.09 = 9 %), or None.
        bounds: what `low` and `high` are.
    """

    value: float
    low: float
    high: float
    shown: bool
    resolution: float | None
    bounds: Bounds = "interval"


class Test(NamedTuple):
    """The Mann-Whitney U test of two samples.

    Attributes:
        p: two-sided, that a difference as large comes by chance alone.
        effect: Cliff's delta, from -1 (all of the first are smaller) to 1 (all are larger).
    """

    p: float
    effect: float


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def percentile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between the two nearest ranks (method 7 of Hyndman and Fan, 1996)."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def remembered(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let what was worked out once be found again: each output of a comparison asks for the same figures."""
    known: dict[object, Result] = {}

    @functools.wraps(function)
    def ask(*samples: Given.args, **options: Given.kwargs) -> Result:
        key = (*(tuple(one) for one in samples), *options.items())  # type: ignore[arg-type]  # each is a sequence
        if key not in known:
            known[key] = function(*samples, **options)
        return known[key]

    return ask


def bounds(*sizes: int) -> Bounds:
    """What so many values can have: an interval, or only the range that they lie in."""
    return "interval" if min(sizes) >= FEWEST else "range"


@remembered
def summarise(values: Sequence[float], *, seed: int = 0) -> Summary:
    """Return median, p95 and the bootstrap interval of the median; of few values their range."""
    if bounds(len(values)) == "range":
        return Summary(len(values), median(values), percentile(values, 0.95), min(values), max(values))
    chance = random.Random(seed)
    medians = [median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES)]
    low, high = interval(medians)
    return Summary(len(values), median(values), percentile(values, 0.95), low, high)


@remembered
def compare(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Ratio | None:
    """Return median(first) / median(second) with its bootstrap interval (Efron's percentile method), or its range.

    None if one side has no samples, or a median that is not positive: such a ratio means nothing.
    """
    if not first or not second or median(first) <= 0 or median(second) <= 0:
        return None
    if bounds(len(first), len(second)) == "range":
        return compare_few(first, second)
    chance = random.Random(seed)
    ratios = []
    for _ in range(RESAMPLES):
        above = median(chance.choices(first, k=len(first)))
        below = median(chance.choices(second, k=len(second)))
        if above > 0 and below > 0:
            ratios.append(above / below)
    value = median(first) / median(second)
    low, high = interval(ratios or [value])
    return Ratio(value, low, high, not low <= 1 <= high, max(high / value, value / low) - 1)


def compare_few(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """The same of few values: all ratios that two of them have, and whether their order could be chance."""
    above, below = ([value for value in values if value > 0] for values in (first, second))
    test = rank_test(first, second)
    shown = test is not None and max(test.p, smallest_p(len(first), len(second))) < SIGNIFICANT
    ratio = median(first) / median(second)
    return Ratio(ratio, min(above) / max(below), max(above) / min(below), shown, None, "range")


def rank_test(first: Sequence[float], second: Sequence[float]) -> Test | None:
    """Compare by ranks; None with a single value.

    Exact up to eight values on one side without ties, else by the normal approximation with the corrections for ties
    and continuity (Mann and Whitney, 1947; Hollander and Wolfe, 1999, 4.1): as scipy's mannwhitneyu does it.
    """
    sizes = len(first), len(second)
    if min(sizes) < 2:
        return None
    larger = wins(first, second)
    pairs = sizes[0] * sizes[1]
    most = max(larger, pairs - larger)
    tied = [ties for _, group in itertools.groupby(sorted((*first, *second))) if (ties := len(list(group))) > 1]
    exact = min(sizes) <= MOST_EXACT and not tied
    p = 2 * (exact_tail(most, *sizes) if exact else normal_tail(most, *sizes, tied))
    return Test(min(p, 1.0), 2 * larger / pairs - 1)


def smallest_p(size: int, other: int) -> float:
    """The p of two sets that do not overlap at all: no smaller one can come out."""
    return 2 / math.comb(size + other, size)


def wins(first: Sequence[float], second: Sequence[float]) -> float:
    """The statistic U of the first: in how many pairs its value is the larger; equal ones count half."""
    ordered = sorted(second)
    return sum(bisect_left(ordered, value) + bisect_right(ordered, value) for value in first) / 2


def exact_tail(statistic: float, size: int, other: int) -> float:
    """The chance that U is at least so large, if every order of the values is as likely as any other."""
    size, other = sorted((size, other))
    ways = [1, *[0] * (size * other)]
    for step in range(1, size + 1):  # the Gaussian binomial coefficient: times (1 - q^(other + step)) / (1 - q^step)
        for place in range(len(ways) - 1, other + step - 1, -1):
            ways[place] -= ways[place - other - step]
        for place in range(step, len(ways)):
            ways[place] += ways[place - step]
    return sum(ways[math.ceil(statistic) :]) / math.comb(size + other, size)


def normal_tail(statistic: float, size: int, other: int, tied: Sequence[int]) -> float:
    """The same for many values, or where some are equal; `tied` has the size of each group of equal ones."""
    every, pairs = size + other, size * other
    correction = sum(ties**3 - ties for ties in tied) / (every * (every - 1))
    deviation = math.sqrt(pairs / 12 * (every + 1 - correction))
    above = statistic - pairs / 2 - 0.5
    return math.erfc(above / deviation / math.sqrt(2)) / 2 if deviation > 0 else 1.0


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of resampled figures."""
    tail = (1 - CONFIDENCE) / 2
    return percentile(values, tail), percentile(values, 1 - tail)


def noise(values: Sequence[float]) -> float:
    """The spread of repeated equal work as a share of its median: 1.48 x the median absolute deviation.

    Robust, so that one interrupted repeat does not decide it.
    """
    middle = median(values)
    if middle <= 0:
        return 0.0
    return MAD_TO_SIGMA * median([abs(value - middle) for value in values]) / middle


def growth(alone: float, each: Sequence[float]) -> list[float]:
    """The total after each of several was added, of which the first also brought what all of them share.

    Args:
        alone: the first before there was a second.
        each: every one beside the others.
    """
    return list(itertools.accumulate(each[1:], initial=max(alone, each[0]))) if each else []
