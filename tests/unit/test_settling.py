"""Processor time of what idles: of what has settled, and not of what still falls."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from twinhull.compare import settling

WORKS_FIRST = "import time\nwhile time.process_time() < 0.2: pass\ntime.sleep(60)"


def test_what_works_after_its_start_is_measured_when_it_has_settled() -> None:
    with subprocess.Popen([sys.executable, "-c", WORKS_FIRST]) as process:
        found = settling.measure([("it", [process.pid])], 0.3, time.monotonic(), old_s=2.5)
        process.kill()
    (percent,) = found.percent
    assert percent is not None
    assert percent < 5, "all of the first second was work"
    assert not found.falling


def test_nothing_is_measured_before_the_youngest_is_old_enough() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        found = settling.measure([("it", [process.pid])], 0.1, time.monotonic(), old_s=0.5)
        process.kill()
    assert found.took_s >= 0.7


@pytest.mark.parametrize(
    ("windows", "falling"),
    [
        ([(9.0, 1.0)], ("vm", "container")),
        ([(9.0, 1.0), (8.0, 1.0)], ("vm",)),
        ([(9.0, 1.0), (8.5, 1.0)], ()),
        ([(9.0, 1.0), (12.0, 0.5)], ("container",)),
        ([(9.0, 0.02), (9.0, 0.0)], ()),
        ([(9.0, None), (9.0, None)], ()),
    ],
)
def test_a_rate_that_falls_by_a_tenth_has_not_settled(
    windows: list[tuple[float | None, ...]], falling: tuple[str, ...]
) -> None:
    assert settling.fallers(["vm", "container"], windows) == falling
