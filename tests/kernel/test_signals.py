"""Signals of real time reach a workload, by `kill` and by `stop`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.command import Twinhull
from tests.support.vm import wait_until

TRAPS = "trap 'echo three; exit 3' 37; echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def engine(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    yield home
    home.remove_all()


@pytest.mark.parametrize("verb", [("kill", "-s", "RTMIN+3"), ("stop",)], ids=["kill", "stop"])
@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_a_signal_of_real_time_arrives(engine: Twinhull, isolation: str, verb: tuple[str, ...]) -> None:
    words = ("--isolation", isolation, "--network", "none", "--stop-signal", "SIGRTMIN+3", "busybox", "sh", "-c", TRAPS)
    name = engine("run", "-d", *words, timeout_s=120, check=True).stdout.strip()
    wait_until(lambda: engine("logs", name).stdout == "ready\n", "the trap")
    engine(*verb, name, check=True)
    assert engine("wait", name, check=True).stdout == "3\n"
    engine("rm", "-f", name, check=True)


def test_a_number_above_the_last_signal_is_refused(engine: Twinhull) -> None:
    done = engine("create", "--stop-signal", "65", "busybox", "true")
    assert done.exit_code == 125 and "invalid signal: 65" in done.stderr
