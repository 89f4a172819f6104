"""The names and numbers of signals that `kill` and `--stop-signal` take."""

from __future__ import annotations

import pytest

from twinhull.engine.control import signal_number
from twinhull.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15),
        ("sigkill", 9),
        ("64", 64),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmin+30", 64),
        ("SIGRTMAX-1", 63),
        ("RTMAX-30", 34),
    ],
)
def test_a_signal_has_its_number(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["0", "65", "RTMIN+31", "RTMAX-31", "RTMAX+1", "RTMIN-1", "RTMIN+", "TERM+1", "RTMIN+-1", "_DFL", ""]
)
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid signal"):
        signal_number(text)
