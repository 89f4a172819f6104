"""What an error of the system is told with."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("words", [("version",), ("prove", "--list"), ("prove", "--list", "--format", "json")])
def test_output_that_cannot_be_written_is_an_error_of_its_own(words: tuple[str, ...]) -> None:
    done = into_full(words, unbuffered="")
    assert done.returncode == 125
    assert done.stderr.startswith("twinhull: standard output: No space left on device\n")
    assert "state" not in done.stderr


def test_output_that_is_not_buffered_is_thought_of() -> None:
    done = into_full(("version",), unbuffered="1")
    assert done.returncode == 125
    assert "where the output goes" in done.stderr


def into_full(words: tuple[str, ...], *, unbuffered: str) -> subprocess.CompletedProcess[str]:
    """Run twinhull where nothing can be written."""
    argv = (sys.executable, "-m", "twinhull", *words)
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        return subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=env)
