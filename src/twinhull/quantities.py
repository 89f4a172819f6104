"""How measured values are written: the unit that suits them, and as many digits as they bear."""

from __future__ import annotations

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
SCALES = {"s": SECONDS, "B": BYTES, "%": ((1.0, "%"),), "": ((1.0, ""),)}


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
