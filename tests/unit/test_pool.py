"""How many guests may wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.config import Config
from twinhull.host import facts
from twinhull.runtime import pool
from twinhull.runtime.pool import Pool, allowed, serves

MB = 1 << 20


@pytest.mark.parametrize(
    ("wanted", "waiting", "used_bytes", "most"),
    [
        (Pool(), 0, 0, 1),  # the one that a start leaves to the next
        (Pool(4), 2, 100 * MB, 4),
        (Pool(4, 1000 * MB), 2, 100 * MB, 4),
        (Pool(4, 150 * MB), 2, 100 * MB, 3),
        (Pool(4, 100 * MB), 3, 150 * MB, 2),
        (Pool(4, 10 * MB), 1, 50 * MB, 0),
        (Pool(4, 10 * MB), 0, 0, 4),  # nobody knows yet what one takes
    ],
)
def test_number_and_budget_both_count(wanted: Pool, waiting: int, used_bytes: int, most: int) -> None:
    assert allowed(wanted, 1, waiting, used_bytes) == most


@pytest.mark.parametrize(
    ("differs", "expected"),
    [({}, True), ({"shares": True}, False), ({"cpus": 2}, False), ({"nics": 3}, False), ({"architecture": "?"}, False)],
)
def test_guests_wait_only_for_machines_that_are_as_most(differs: dict[str, object], *, expected: bool) -> None:
    ordinary = {"cpus": 1, "nics": 2, "shares": False, "architecture": facts.architecture()}
    assert serves({**ordinary, **differs}) is expected
    assert not serves({})


def test_what_was_set_is_read_back_and_damage_wants_nothing(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path))
    assert pool.read(config) == Pool()
    pool.write(config, Pool(3, MB))
    assert pool.read(config) == Pool(3, MB)
    for text in ("", "[]", "{}", '{"size": "x", "budget_bytes": 1}', "\0"):
        (tmp_path / "pool").write_text(text)
        assert pool.read(config) == Pool()
