"""Times of whole commands, taken in turns."""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

LIMIT_S = 60.0  # a command that takes longer is ended and counts as failed


class Command(NamedTuple):
    """What one contender runs for one work, the variables it needs, and what removes what it left, not timed."""

    argv: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()


Contender = Command | Callable[[], None]  # or what is called in this process


class Failed(Exception):
    """A contender's command did not end with status 0; there is nothing to compare."""


class Samples(NamedTuple):
    """Times in milliseconds."""

    values_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """The middle."""
        return statistics.median(self.values_ms)

    @property
    def spread_ms(self) -> float:
        """Half the distance between the quartiles."""
        low, _, high = statistics.quantiles(self.values_ms, n=4)
        return (high - low) / 2


def contend_ms(contender: Contender) -> float:
    """Let a contender do its work once and return how long it took.

    Raises:
        Failed: its status was not 0, or it took too long.
    """
    if isinstance(contender, Command):
        try:
            return run_ms(contender)
        finally:
            if contender.after:
                run_ms(contender._replace(argv=contender.after))
    start = time.perf_counter_ns()
    contender()
    return (time.perf_counter_ns() - start) / 1e6


def run_ms(command: Command) -> float:
    """Run a command without its output and return how long it took.

    Raises:
        Failed: its status was not 0, or it took too long.
    """
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = {**os.environ, **dict(command.variables)}
    start = time.perf_counter_ns()
    pid = os.posix_spawnp(command.argv[0], command.argv, environment, file_actions=null)
    watchdog = threading.Timer(LIMIT_S, os.kill, (pid, signal.SIGKILL))
    watchdog.start()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    taken_ms = (time.perf_counter_ns() - start) / 1e6
    watchdog.cancel()
    if status:
        raise Failed(f"{' '.join(command.argv)}: status {status}")
    return taken_ms


def take_turns(contenders: Mapping[str, Contender], rounds: int, settle: Callable[[], None]) -> dict[str, Samples]:
    """Run every contender once to warm up, then in each round once, in random order.

    Args:
        settle: returns when nothing is at work any more that a command before has left behind.
    """
    for contender in contenders.values():
        contend_ms(contender)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in shuffled(list(contenders)):
            settle()
            times[name].append(contend_ms(contenders[name]))
    return {name: Samples(tuple(values)) for name, values in times.items()}


def shuffled(names: Sequence[str]) -> list[str]:
    """Return the names in random order."""
    return random.sample(names, len(names))


def pss_kb(pid: int) -> int:
    """Proportional memory of one process, 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0
