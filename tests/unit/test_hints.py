"""What an error of the system is told with."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinhull.cli.arguments import overview
from twinhull.cli.main import guarded, hint_for
from twinhull.engine.state import schema
from twinhull.errors import HostUnfit
from twinhull.store import db


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


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(100), None])
def test_a_broken_database_is_told_with_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state/twinhull.db"
    path.parent.mkdir()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content * 50)
    with pytest.raises(HostUnfit) as caught:
        db.connect(str(path), schema)
    assert caught.value.message.startswith(f"{path}, the list of images, workloads and networks, cannot be read: ")
    assert f"mv {path} {path}.broken" in caught.value.hint


def test_what_finds_the_database_broken_later_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def find_broken(words: list[str]) -> int:
        error = ValueError("database disk image is malformed")
        error.sqlite_errorname = "SQLITE_CORRUPT"  # type: ignore[attr-defined]  # as an error of sqlite3 has it
        raise error

    monkeypatch.setattr("twinhull.cli.main.dispatch", find_broken)
    monkeypatch.setenv("TWINHULL_ROOT", str(tmp_path))
    assert guarded(["ps"]) == 125
    shown = capsys.readouterr().err
    assert f"{tmp_path}/state/twinhull.db" in shown
    assert "bug" not in shown


def test_the_help_names_the_flag_that_the_hint_of_a_bug_names() -> None:
    assert "twinhull --debug VERB" in overview()
