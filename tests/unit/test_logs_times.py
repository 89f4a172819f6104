"""Times as `logs` takes them."""

from __future__ import annotations

import pytest

from twinhull.cli.logs import moment
from twinhull.errors import InvalidRequest

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456789Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00.000000000Z"),
        ("2026-01-31 12:00:00-01:00", "2026-01-31T13:00:00.000000000Z"),
        ("1800000000", "2027-01-15T08:00:00.000000000Z"),
        ("1800000000.5", "2027-01-15T08:00:00.500000000Z"),
        ("90s", "2027-01-15T07:58:30.000000000Z"),
        ("1h30m", "2027-01-15T06:30:00.000000000Z"),
    ],
)
def test_a_moment_is_a_time_in_utc(text: str, expected: str) -> None:
    assert moment(text, "--since", NOW) == expected


def test_a_time_without_a_zone_is_of_the_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-3")
    time.tzset()
    try:
        assert moment("2026-01-31", "--since", NOW) == "2026-01-30T21:00:00.000000000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "5", "-5s", "2026-", "12:00"])
def test_anything_else_is_one_clear_error(text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"--until {text}: not a time"):
        moment(text, "--until", NOW)
