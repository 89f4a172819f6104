"""What an error of the system is told with."""

from __future__ import annotations

import errno

import pytest

from twinhull.cli.main import guarded, hint_for


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "room"), (errno.EDQUOT, "room"), (errno.EROFS, "TWINHULL_ROOT"), (errno.EIO, "")],
)
def test_what_a_user_can_mend_has_a_hint(number: int, hint: str) -> None:
    found = hint_for(OSError(number, "text", "/somewhere"))
    assert hint in found
    assert bool(hint) == bool(found)


def test_a_state_that_cannot_be_written_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(words: list[str]) -> int:
        raise OSError(errno.EROFS, "Read-only file system", "/state/prune.lock")

    monkeypatch.setattr("twinhull.cli.main.dispatch", refuse)
    assert guarded(["run"]) == 125
    shown = capsys.readouterr().err
    assert "Read-only file system: /state/prune.lock" in shown
    assert "bug" not in shown
