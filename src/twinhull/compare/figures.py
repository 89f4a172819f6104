"""How measured values are written: unit, as many digits as the value bears, and [the interval] or (the range)."""

from __future__ import annotations

from twinhull.compare.statistics import Ratio, Summary
from twinhull.quantities import digits as digits
from twinhull.quantities import quantity as quantity
from twinhull.quantities import scale as scale

LARGE = 100_000


def spread(summary: Summary, unit: str) -> str:
    """A median with its ends in the same unit: 172 ms [165, 181], or of few values 172 ms (165–181).

    Samples that look the same have none.
    """
    factor, name = scale(summary.median, unit)
    median = f"{digits(summary.median / factor)} {name}".rstrip()
    if summary.size == 1:
        return f"{median} (once)"
    low, high = digits(summary.low / factor), digits(summary.high / factor)
    return median if float(low) == float(high) else f"{median} {ends(low, high, summary.bounds)}"


def ends(low: str, high: str, bounds: str) -> str:
    """The ends of an interval in brackets, those of a range in parentheses."""
    return f"({low}–{high})" if bounds == "range" else f"[{low}, {high}]"


def times(ratio: Ratio) -> str:
    """A ratio with its interval, or that none was shown and how large it could have been."""
    if ratio.resolution is not None and not ratio.shown and ratio.low <= 1 <= ratio.high:
        return f"no difference shown (from {ratio.resolution:.0%})"
    if ratio.low == ratio.high:
        return f"{factor(ratio.value)}x"
    return f"{factor(ratio.value)}x {ends(factor(ratio.low), factor(ratio.high), ratio.bounds)}"


def factor(value: float) -> str:
    """A ratio's digits: 0.92, 5.2, 66, 3200."""
    if value >= LARGE:
        return f"{value:.0e}"
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
