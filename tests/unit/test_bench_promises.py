"""SPEC.md is what the benchmark reads."""

from __future__ import annotations

from bench.measure import Samples
from bench.promises import SPEC, read_promises


def test_every_row_of_the_table_is_read() -> None:
    text = SPEC.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(read_promises(text)) == len(rows) == 17


def test_limits_are_numbers_with_their_unit() -> None:
    promises = read_promises(SPEC.read_text())
    assert (promises["run-bridge"].limit, promises["run-bridge"].unit) == (0.15, "×")
    assert (promises["run-bridge"].against, promises["run-none"].against) == ("docker", "runc")


def test_the_median_is_not_moved_by_one_slow_run() -> None:
    assert Samples((10.0, 11.0, 900.0)).median_ms == 11.0
