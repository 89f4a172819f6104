"""Axes: from values to pixels, with ticks at round values."""

from __future__ import annotations

import math

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_LABELS = 7


class LogAxis(NamedTuple):
    """A logarithmic axis from `low` to `high` over the pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """The pixel of a value; one outside stands at the edge."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten; only the powers where those are too many."""
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**exponent for exponent in exponents for step in steps]
            inside = [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]
            if len(inside) <= MOST_LABELS:
                return inside
        return inside


def log_axis(values: Iterable[float], start: float, end: float) -> LogAxis:
    """An axis around positive values, at least one decade long so that small differences look small."""
    positive = [value for value in values if value > 0]
    low, high = min(positive, default=1.0), max(positive, default=10.0)
    middle = math.sqrt(low) * math.sqrt(high)
    low, high = min(low / 1.15, middle / math.sqrt(10)), max(high * 1.15, middle * math.sqrt(10))
    return LogAxis(low, high, start, end)
