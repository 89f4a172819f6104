"""How measured values are written: unit, as many digits as the value bears, and the 95 % interval."""

from __future__ import annotations

from twinhull.compare.statistics import Ratio, Summary

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
SCALES = {"s": SECONDS, "B": BYTES, "%": ((1.0, "%"),), "": ((1.0, ""),)}
LARGE = 100_000


def digits(value: float) -> str:
    """Three digits that mean something: 1910, 172, 20.4, 0.31."""
    size = abs(value)
    if size >= 100 or value == 0:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def scale(value: float, unit: str) -> tuple[float, str]:
    """The factor and name of the unit that suits a value."""
    if value == 0:
        return 1.0, unit
    for factor, name in SCALES[unit]:
        if abs(value) >= factor:
            return factor, name
    return SCALES[unit][-1]


def quantity(value: float, unit: str) -> str:
    """One value with its unit: 172 ms, 20.4 MB."""
    factor, name = scale(value, unit)
    return f"{digits(value / factor)} {name}".rstrip()


def spread(summary: Summary, unit: str) -> str:
    """A median with its interval in the same unit: 172 ms [165, 181]. Samples that look the same have none."""
    factor, name = scale(summary.median, unit)
    median = f"{digits(summary.median / factor)} {name}".rstrip()
    if summary.size == 1:
        return f"{median} (once)"
    low, high = digits(summary.low / factor), digits(summary.high / factor)
    return median if float(low) == float(high) else f"{median} [{low}, {high}]"


def times(ratio: Ratio) -> str:
    """A ratio with its interval, or that none was shown and how large it could have been."""
    if not ratio.shown and ratio.low <= 1 <= ratio.high:
        return f"no difference shown (from {ratio.resolution:.0%})"
    if ratio.low == ratio.high:
        return f"{factor(ratio.value)}x"
    return f"{factor(ratio.value)}x [{factor(ratio.low)}, {factor(ratio.high)}]"


def factor(value: float) -> str:
    """A ratio's digits: 0.92, 5.2, 66, 3200."""
    if value >= LARGE:
        return f"{value:.0e}"
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
