"""Checks a document against compare.schema.json, as far as that schema goes.

Promise: it knows every keyword that the file uses (a test looks), and says where the first thing wrong is.
"""

from __future__ import annotations

import json
import math
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare.schema.json")
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def load() -> dict[str, Any]:
    """The published schema."""
    with open(PATH, encoding="utf-8") as file:
        schema: dict[str, Any] = json.load(file)
    return schema


def complaints(value: Any, schema: dict[str, Any], definitions: dict[str, Any], place: str = "") -> Iterator[str]:
    """What is wrong with a value, the outermost first: "samples.vm.total_s[3] is no number"."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    where = place.lstrip(".") or "the document"
    if "const" in schema and value != schema["const"]:
        yield f"{where} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is none of {', '.join(map(repr, schema['enum']))}"
    if "type" in schema and not has_type(value, schema["type"]):
        yield f"{where} is no {schema['type'] if isinstance(schema['type'], str) else ' or '.join(schema['type'])}"
        return
    if isinstance(value, dict):
        yield from of_object(value, schema, definitions, place)
    if isinstance(value, list):
        yield from of_array(value, schema, definitions, place)
    if "minimum" in schema and isinstance(value, int | float) and value < schema["minimum"]:
        yield f"{where} is less than {schema['minimum']}"


def of_object(value: dict[str, Any], schema: dict[str, Any], definitions: dict[str, Any], place: str) -> Iterator[str]:
    """Names that must be there, names that may, and what is under them."""
    where = place.lstrip(".") or "the document"
    yield from (f"{where} has no {name!r}" for name in schema.get("required", ()) if name not in value)
    properties, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, inner in value.items():
        if name in properties:
            yield from complaints(inner, properties[name], definitions, f"{place}.{name}")
        elif isinstance(other, dict):
            yield from complaints(inner, other, definitions, f"{place}.{name}")
        elif not other:
            yield f"{where} has {name!r}, which is not known"


def of_array(value: list[Any], schema: dict[str, Any], definitions: dict[str, Any], place: str) -> Iterator[str]:
    """The number of items, and each of them."""
    where = place.lstrip(".") or "the document"
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{where} has {len(value)} items"
    for index, inner in enumerate(value):
        yield from complaints(inner, schema.get("items", {}), definitions, f"{place}[{index}]")


def has_type(value: Any, names: str | list[str]) -> bool:
    """A value's type by JSON's rules; infinite numbers, which Python's parser lets through, are none."""
    wanted = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in wanted
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, float) and value.is_integer() and "integer" in wanted:
        return True
    return any(isinstance(value, TYPES[name]) for name in wanted)
