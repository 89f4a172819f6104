"""A log that is followed while it is rotated."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from twinhull.engine import logs
from twinhull.host import locks


def write(path: Path, *texts: str) -> None:
    records = [{"log": text, "stream": "stdout", "time": "2026-01-01T00:00:00Z"} for text in texts]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def rotate(directory: Path, *texts: str) -> None:
    (directory / "log").rename(directory / "log.1")
    write(directory / "log", *texts)


def test_one_rotation_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path / "log", "a")
    with locks.locked(str(tmp_path / "alive")), closing(logs.followed(str(tmp_path), 0, "")) as lines:
        assert next(lines).text == "a"
        rotate(tmp_path, "b")
        assert next(lines).text == "b"


def test_a_follower_that_is_too_slow_says_that_lines_are_missing(tmp_path: Path) -> None:
    write(tmp_path / "log", "a")
    with locks.locked(str(tmp_path / "alive")), closing(logs.followed(str(tmp_path), 0, "")) as lines:
        assert next(lines).text == "a"
        for number in range(3):
            rotate(tmp_path, f"b{number}")
        assert next(lines) == logs.LOST
        assert [next(lines).text, next(lines).text] == ["b1", "b2"]
