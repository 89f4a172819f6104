"""When a ratio counts: the lines that judges draw, and the sentences that several of them say."""

from __future__ import annotations

from twinhull.compare import figures
from twinhull.compare.statistics import Ratio

HEAVY = 2.0  # "heavy": at least twice as much, and the samples show a difference
CLOSE = 1.10  # within a tenth of a plain process: as good as one
SECONDS_S, MINUTES_S = 10.0, 60.0  # "in seconds": fewer than ten; "minutes": at least one
ON_KVM, NO_KVM = "KVM on this machine", "a host without KVM"
A_MACHINE = "a machine: a whole system from a disk"


def more(ratio: Ratio) -> bool:
    """True if the samples show that the first is larger."""
    return ratio.shown and ratio.value > 1


def heavy(ratio: Ratio) -> bool:
    """True if the samples show that the first is larger, by a factor that matters."""
    return more(ratio) and ratio.value >= HEAVY


def times(ratio: Ratio) -> str:
    """A ratio for the middle of a sentence: 55 times [48, 59], or of few repeats 55 times (48–59)."""
    said = f"{figures.factor(ratio.value)} times"
    if not ratio.shown:
        return f"{said} (no difference shown)"
    return f"{said} {figures.ends(figures.factor(ratio.low), figures.factor(ratio.high), ratio.bounds)}"


def listed(words: tuple[str, ...] | list[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
