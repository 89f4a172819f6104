"""A configuration file is TOML, read without tomllib where it is plain."""

from __future__ import annotations

import json
import os
import re
import time
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


def test_a_trace_has_a_line_for_each_step_and_without_one_nothing_is_written(tmp_path: Path) -> None:
    environ = {"TWINHULL_ROOT": str(tmp_path), "TWINHULL_CONFIG": str(tmp_path / "none")}
    before = time.monotonic_ns()
    traced = config.load({**environ, "TWINHULL_TRACE": str(tmp_path / "trace")})
    traced.mark("ready", note="0123")
    traced.mark("kernel", 42)
    config.load(environ).mark("unseen")

    first, second = (tmp_path / "trace").read_text().splitlines()
    step, moment, note = first.split()
    assert (step, note) == ("ready", "0123")
    assert before <= int(moment) <= time.monotonic_ns()
    assert second == "kernel 42"
    assert os.listdir(tmp_path) == ["trace"]


@pytest.mark.parametrize("place", ["nothing/trace", ""])
def test_a_trace_that_cannot_be_written_names_its_settings(tmp_path: Path, place: str) -> None:
    with pytest.raises(InvalidRequest, match="the trace /") as caught:
        config.Config(trace=f"{tmp_path}/{place}").mark("settings")
    assert "TWINHULL_TRACE" in caught.value.hint


def test_the_variable_for_one_command_wins_over_the_files_trace(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('trace = "/always"\n')
    environ = {"TWINHULL_CONFIG": str(path)}
    assert config.load(environ).trace == "/always"
    assert config.load({**environ, "TWINHULL_TRACE": "/once"}).trace == "/once"


@pytest.mark.parametrize(
    "text", ["vm_boot_timeout_s = -1", "vm_boot_timeout_s = nan", "vm_memory_bytes = 67108864", "log_max_bytes = -5"]
)
def test_a_value_that_cannot_serve_is_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=r"config\.toml: .* is not between"):
        config.load({"TWINHULL_CONFIG": str(path), "TWINHULL_ROOT": str(tmp_path)})


def test_a_state_that_would_be_another_in_each_directory_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'here' is no absolute path") as caught:
        config.load({"TWINHULL_ROOT": "here"})
    assert caught.value.hint == f"TWINHULL_ROOT={os.path.abspath('here')}"


def test_a_relative_directory_of_xdg_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert config.roots({"XDG_DATA_HOME": "data", "XDG_RUNTIME_DIR": "run", "HOME": "/nonexistent"}) == (
        "/tmp/twinhull-4242/twinhull",
        "/tmp/twinhull-4242/run/twinhull",
    )
