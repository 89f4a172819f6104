"""What no file of the project may say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written in two halves, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
A_PERSONS_MACHINE = re.compile(r"/(home|Users)/[a-z]+/|\.pye" r"nv\b")


def files() -> list[Path]:
    """Every text file of the project: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:1024]]


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_marked_as_unfinished() -> None:
    assert lines_matching(UNFINISHED) == []


def test_no_path_of_the_machine_it_was_written_on() -> None:
    here = re.escape(str(ROOT)) if len(ROOT.parts) > 2 else "(?!)"
    assert lines_matching(re.compile(f"{A_PERSONS_MACHINE.pattern}|{here}")) == []


@pytest.mark.parametrize("ending", ["\n\n", " \n", "\t\n"])
def test_text_files_end_cleanly(ending: str) -> None:
    assert [str(path.relative_to(ROOT)) for path in files() if path.read_text(errors="replace").endswith(ending)] == []


def test_a_silenced_type_error_says_why() -> None:
    pattern = re.compile(r"# type: ignore(\[[\w,-]+\])?\s*$")
    assert [line for line in lines_matching(pattern) if ".py:" in line] == []
