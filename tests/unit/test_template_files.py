"""What is taken for a template: a directory with everything that was saved, in its size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twinhull.runtime import template

SIZES = {"memory": 8192, "state": 100}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "meta.json").write_text(json.dumps({"sizes": SIZES, "digest": "0123456789abcdef"}))
    return tmp_path


def test_a_whole_one_is_found(saved: Path) -> None:
    found = template.load(str(saved), "key")
    assert found == template.Template("key", str(saved), "0123456789abcdef", 8192)


@pytest.mark.parametrize("part", ["memory", "state", "meta.json"])
def test_one_that_lacks_a_part_is_none(saved: Path, part: str) -> None:
    (saved / part).unlink()
    assert template.load(str(saved), "key") is None


@pytest.mark.parametrize("part", ["memory", "state", "meta.json"])
def test_one_with_a_part_that_was_cut_short_is_none(saved: Path, part: str) -> None:
    content = (saved / part).read_bytes()
    (saved / part).write_bytes(content[: len(content) // 2])
    assert template.load(str(saved), "key") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"sizes": {}, "digest": ""}', '{"sizes": 1}'])
def test_one_that_says_nothing_that_can_be_read_is_none(saved: Path, text: str) -> None:
    (saved / "meta.json").write_text(text)
    assert template.load(str(saved), "key") is None
