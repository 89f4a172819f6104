"""A configuration file is TOML, read without tomllib where it is plain."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twinhull import config
from twinhull.errors import InvalidRequest

WORDS = """a b-c "x" 'y' [ ] 1 -0 1.5 01 true null NaN inf 1e999 , " # é _ {} 2026-01-31""".split()
PIECES = st.sampled_from([*WORDS, "= ", "\\n", "\n", "\r\n", "\t", " ", "\x7f", "\x1f", "\u2028"])
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.one_of(st.text(max_size=5), NUMBERS, st.booleans())


def outcome(read: Any, text: str) -> str:
    """The values, or that there are none."""
    try:
        return repr(read(text))
    except ValueError:
        return "refused"


@given(st.lists(PIECES, max_size=12).map("".join))
@example("a = 1\na = 2")
@example('a = "x" # why')
@example("a = [1,\n2]\n[b]\nc = 1")
@example("# why\n\n  a=1")
@example("a = [null]")
@example("a = 1\u20282")
def test_any_document_is_read_or_refused_as_tomllib_does_it(text: str) -> None:
    assert outcome(config.parse, text) == outcome(tomllib.loads, text)


@given(st.dictionaries(st.sampled_from("abc"), st.one_of(VALUES, st.lists(VALUES, max_size=3)), max_size=3))
def test_values_that_json_writes_alike_are_read_alike(values: dict[str, Any]) -> None:
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    assert outcome(config.parse, text) == outcome(tomllib.loads, text)


def test_a_plain_file_needs_no_tomllib() -> None:
    text = '# ours\nisolation = "vm"\nvm_template = false\nvm_memory_bytes = 1024\n\ninsecure_registries = ["a", "b"]\n'
    assert config.parse_plain(text) == tomllib.loads(text)


@pytest.mark.parametrize("content", [b"isolation = ", b"\xff", b"nosuch = 1", b"isolation = 1"])
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"config\.toml"):
        config.load({"TWINHULL_CONFIG": str(path), "TWINHULL_ROOT": str(tmp_path)})


def test_every_setting_is_documented_with_its_default() -> None:
    page = Path("docs/configuration.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", page, re.MULTILINE))
    assert {name: json.loads(value) if value[0] != "/" else value for name, value in rows.items()} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in config.Config()._asdict().items()
    }
