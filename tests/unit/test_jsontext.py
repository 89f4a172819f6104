"""Our JSON is the json package's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twinhull import jsontext

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)))
PIECES = st.sampled_from([*'{}[],:"\\ \n\t\x0c\x00a1-.eE', "nul", "true", "NaN", "\ufeff", "\\u00", "\ud800", "1e999"])


def outcome(read: Any, text: str | bytes) -> tuple[str, str]:
    """What reading gives, or its error."""
    try:
        return "value", repr(read(text))
    except ValueError as error:
        return "error", str(error)


@pytest.mark.slow
@given(VALUES)
def test_values_are_written_as_json_writes_them_and_read_back(value: Any) -> None:
    assert jsontext.dumps(value) == json.dumps(value)
    assert jsontext.dumps(value, compact=True) == json.dumps(value, separators=(",", ":"))
    assert jsontext.loads(jsontext.dumps(value)) == value
    assert jsontext.loads(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")) == value


@given(st.lists(PIECES, max_size=12).map("".join))
@example("")
@example("1 2")
@example("[1,]")
@example(' {"a": 1} ')
@example("\ufeff1")
def test_any_text_is_read_or_refused_as_json_does_it(text: str) -> None:
    assert outcome(jsontext.loads, text) == outcome(json.loads, text)


@pytest.mark.parametrize("content", [b"\xff", b'"\xc3"', b"[1", b"", b"\xef\xbb\xbf1", "1".encode("utf-16")])
def test_bytes_that_are_not_json_in_utf_8_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(content)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_what_is_nested_too_deep_is_refused(opened: str) -> None:
    with pytest.raises(RecursionError):
        jsontext.loads(opened * 100_000)


def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        jsontext.dumps({"a": b""})
    around: list[Any] = []
    around.append(around)
    with pytest.raises(ValueError):
        jsontext.dumps(around)


def test_an_interpreter_without_the_accelerators_uses_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "COMPILED", None)
    assert jsontext.loads(jsontext.dumps({"a": [1, "é"]}, compact=True)) == {"a": [1, "é"]}
    assert jsontext.dumps({"a": [1]}, compact=True) == '{"a":[1]}'
