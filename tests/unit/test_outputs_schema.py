"""The published form of a document: what compare writes has it, and our own check of it agrees with jsonschema's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import documents
from twinhull.compare.outputs import changes, conditions, document, schema
from twinhull.errors import InvalidRequest

PUBLISHED = Path(__file__).parents[2] / "docs/compare.schema.json"
KEYWORDS = {"$schema", "$id", "$defs", "$ref", "title", "description", "type", "required", "additionalProperties"}
KEYWORDS |= {"properties", "items", "enum", "const", "minimum", "minItems", "maxItems"}
SCHEMA = schema.load()
JUDGE = jsonschema.Draft202012Validator(SCHEMA)


def complaints(value: Any) -> list[str]:
    return list(schema.complaints(value, SCHEMA, SCHEMA["$defs"]))


def asked() -> dict[str, Any]:
    found = documents.complete()
    found["conditions"] = conditions.judge_all([conditions.parse("vm.startup > 1ms")], found)
    return {**found, "changes": changes.changes(documents.complete(), found, "old.json")}


@pytest.mark.parametrize("make", [documents.real, documents.complete, asked])
def test_a_document_has_the_published_form(make: Any) -> None:
    found = json.loads(json.dumps(make()))
    assert [error.message for error in JUDGE.iter_errors(found)] == []
    assert complaints(found) == []


def test_the_schema_is_one_and_the_published_copy_is_it() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(PUBLISHED.read_text()) == SCHEMA, "make docs writes it anew"


def test_our_check_knows_every_keyword_that_the_schema_uses() -> None:
    def keywords(part: Any) -> set[str]:
        if not isinstance(part, dict):
            return set()
        named = {"properties", "$defs"}
        inner = [value for key, value in part.items() if key not in named]
        inner += [value for key in named & part.keys() for value in part[key].values()]
        return part.keys() | {word for value in inner for word in keywords(value)}

    assert keywords(SCHEMA) <= KEYWORDS


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


PLACES = places(json.loads(json.dumps(documents.complete())))


@pytest.mark.slow
@given(st.sampled_from(PLACES), st.sampled_from([None, "text", -1, 2.5, True, [], {}, [1, 2, 3], {"other": 1}]))
def test_our_check_and_jsonschema_agree_on_a_document_that_was_changed(place: tuple[Any, ...], value: Any) -> None:
    found = copy.deepcopy(json.loads(json.dumps(documents.complete())))
    part = found
    for key in place[:-1]:
        part = part[key]
    if place:
        part[place[-1]] = value
    assert bool(complaints(found)) != JUDGE.is_valid(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not what compare wrote"),
        ("{}", "is not what compare wrote"),
        ('{"samples": {}}', "has schema 'none'; this twinhull reads 1"),
        ('{"samples": {}, "schema": 2}', "has schema 2; this twinhull reads 1"),
        ('{"samples": {}, "schema": 1}', "the document has no 'version'"),
    ],
)
def test_another_file_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        document.read(text, "FILE")
    assert caught.value.message.startswith("FILE ")
    assert says in caught.value.message


def test_the_place_of_what_is_wrong_is_named() -> None:
    found = documents.real()
    found["samples"]["vm.total_s"][1] = "slow"
    with pytest.raises(InvalidRequest) as caught:
        document.read(json.dumps(found), "FILE")
    assert caught.value.message.endswith("samples.vm.total_s[1] is no number")


def test_numbers_that_json_does_not_have_are_refused() -> None:
    found = documents.real()
    found["samples"]["vm.total_s"][0] = float("nan")
    with pytest.raises(InvalidRequest):
        document.read(json.dumps(found), "FILE")


@pytest.mark.parametrize(
    ("values", "says"), [([], "is empty"), ([0.1, -0.1], "a time below zero"), ([1e308] * 10, "nothing here can reach")]
)
def test_samples_that_no_comparison_writes_are_refused(values: list[float], says: str) -> None:
    found = documents.real()
    found["samples"]["vm.total_s"] = values
    with pytest.raises(InvalidRequest, match=f"samples.vm.total_s .*{says}"):
        document.read(json.dumps(found), "FILE")


def test_changes_are_not_taken_from_a_file() -> None:
    assert "changes" not in document.read(json.dumps(asked()), "FILE")
