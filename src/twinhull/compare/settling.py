"""Processor time of instances of which nothing is asked.

Promise: it is that of instances that have settled: a guest works for some seconds after its start. So windows follow
each other until all are old enough and the rate falls no more; where it still fell at the end, that is said.
"""

from __future__ import annotations

import itertools
import time

from twinhull.compare import statistics
from twinhull.host import memory
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OLD_S = 12.0  # measured: a restored guest under TCG takes 0.3 to 1 % of a CPU before, 0.1 to 0.2 % from then on
MOST_WINDOWS = 10
LAST = 2  # windows that the figures are of
FALLS = 0.9  # a window with less than this part of the one before
NOT_KNOWN = "this kernel keeps no schedstat, or a thread that ended took its time with it"
NOTHING_PERCENT = 0.02  # too little to fall


class Look(NamedTuple):
    """The processor time so far of each of several groups of processes, in seconds; None: the kernel does not say."""

    moment: float
    times: tuple[float | None, ...]


class Rates(NamedTuple):
    """Per cent of one CPU for each group, None where it is NOT_KNOWN; which names had not settled."""

    percent: tuple[float | None, ...]
    falling: tuple[str, ...]
    took_s: float


def measure(
    everyone: Sequence[tuple[str, Sequence[int]]], window_s: float, youngest: float, old_s: float = OLD_S
) -> Rates:
    """Wait until all have settled, and say what they took then.

    Args:
        everyone: (name, its processes).
        youngest: when the last of them was started, in the time of time.monotonic().
        old_s: what is older is looked at.
    """
    looks = [look(everyone)]
    while True:
        time.sleep(window_s)
        looks.append(look(everyone))
        old = looks[max(len(looks) - 1 - LAST, 0)].moment - youngest >= old_s
        windows = [rates(earlier, later) for earlier, later in itertools.pairwise(looks)]
        falling = fallers([name for name, _ in everyone], windows)
        if (old and not falling) or len(windows) >= MOST_WINDOWS:
            last = rates(looks[-1 - LAST], looks[-1])
            return Rates(last, falling, looks[-1].moment - looks[0].moment)


def look(everyone: Sequence[tuple[str, Sequence[int]]]) -> Look:
    """The processor time of each so far."""
    return Look(time.monotonic(), tuple(memory.precise_processor_time(pids) for _, pids in everyone))


def rates(earlier: Look, later: Look) -> tuple[float | None, ...]:
    """Per cent of one CPU between two looks; None where it is not known: a thread that ended took its with it."""
    took_s = later.moment - earlier.moment
    pairs = zip(earlier.times, later.times, strict=True)
    return tuple(None if one is None or two is None or two < one else 100 * (two - one) / took_s for one, two in pairs)


def fallers(names: Sequence[str], windows: Sequence[Sequence[float | None]]) -> tuple[str, ...]:
    """The names whose median is lower in the last window than in the one before; all as long as there is one window."""
    if len(windows) < LAST:
        return tuple(dict.fromkeys(names))
    before, now = (medians(names, window) for window in windows[-2:])
    return tuple(name for name in now if NOTHING_PERCENT < now[name] < FALLS * before.get(name, 0.0))


def medians(names: Sequence[str], window: Sequence[float | None]) -> Mapping[str, float]:
    """Name -> the median of its instances."""
    found: dict[str, list[float]] = {}
    for name, rate in zip(names, window, strict=True):
        if rate is not None:
            found.setdefault(name, []).append(rate)
    return {name: statistics.median(values) for name, values in found.items()}
