"""Reads the document of a comparison: what `--format json` wrote, now or earlier.

Promise: what `read` returns has the form of compare.schema.json. A section that is missing is empty here, and
`reason` says why.
"""

from __future__ import annotations

import json

from twinhull.compare import statistics
from twinhull.compare.findings import started_by
from twinhull.compare.outputs import quantities, schema
from twinhull.compare.statistics import Summary
from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    Holds = Literal["holds", "in part", "not here", "not measured", "too few samples", ""]
    Document = Mapping[str, Any]

SCHEMA = 1
LARGEST = 1e18  # of a sample: more seconds or bytes than a machine has
SIDES = ("vm", "container", "machine")


class TableLine(NamedTuple):
    """One line of the table as it was printed; "" where it has nothing.

    Attributes:
        cells: side -> text; the machine's with its ratio to the container's.
        ratio: the VM's figure divided by the container's, with its interval, or a few words.
    """

    topic: str
    cells: Mapping[str, str]
    ratio: str
    claim: str
    holds: Holds


def read(text: str, source: str) -> dict[str, Any]:
    """Parse a document. Changes are not taken from a file: they are made of two documents that are both there.

    Args:
        source: where it came from, for the error.

    Raises:
        InvalidRequest: it is none, or one of another version.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{source} is not JSON: {error}", hint="write one: compare --format json") from error
    if not isinstance(document, dict) or "samples" not in document:
        raise InvalidRequest(f"{source} is not what compare wrote", hint="write one: compare --format json")
    if document.get("schema") != SCHEMA:
        version = document.get("schema", "none")
        later = isinstance(version, int) and version > SCHEMA
        hint = (
            f"made by {'a later' if later else 'an earlier'} version of twinhull: read it with that, or measure again"
        )
        raise InvalidRequest(f"{source} has schema {version!r:.40}; this twinhull reads {SCHEMA}", hint=hint)
    published = schema.load()
    wrong = next(schema.complaints(document, published, published["$defs"]), "") or never_measured(document["samples"])
    if wrong:
        raise InvalidRequest(f"{source} is not what compare wrote: {wrong}", hint="docs/compare.schema.json")
    return {name: value for name, value in document.items() if name != "changes"}


def never_measured(samples: Mapping[str, list[float]]) -> str:
    """The first samples that no comparison writes, "" without any; phases may be below zero, by two clocks."""
    for key, values in samples.items():
        if not values:
            return f"samples.{key} is empty"
        if max(map(abs, values)) > LARGEST:
            return f"samples.{key} has a value that nothing here can reach"
        if key.endswith("_s") and ".phase_" not in key and min(values) < 0:
            return f"samples.{key} has a time below zero"
    return ""


def subjects(document: Document) -> dict[str, str]:
    """Name -> title of every subject, in the document's order."""
    if listed := document.get("subjects"):
        return {subject["name"]: subject["title"] for subject in listed}
    seen = {key.partition(".")[0] for key in document["samples"]} | (set(SIDES) & document["gaps"].keys())
    ordered = [*(name for name in quantities.SUBJECTS if name in seen), *sorted(seen - quantities.SUBJECTS.keys())]
    return {name: quantities.SUBJECTS.get(name, name) for name in ordered}


def summary(document: Document, key: str) -> Summary | None:
    """Median and interval of one key: as stated, else from the samples; None without either."""
    if stated := document.get("statistics", {}).get(key):
        return Summary(stated["size"], stated["median"], stated["p95"], stated["low"], stated["high"])
    values = document["samples"].get(key)
    return statistics.summarise(values) if values else None


def reason(document: Document, *names: str) -> str:
    """Why something is missing: the first of the names that has a gap, else that it was not measured."""
    gaps: Mapping[str, str] = document["gaps"]
    return next((gaps[name] for name in names if name in gaps), "this run did not look at it")


def missing(gaps: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is missing, and why, each reason once: ("exec, stop of plain, vm_cold", "not taken")."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for key, reason in gaps.items():
        subject, dot, _ = key.partition(".")
        reasons.setdefault(reason, {}).setdefault(subject, []).extend([quantities.split(key)[1].name] if dot else [])
    return [("; ".join(together(found)), reason) for reason, found in reasons.items()]


def together(found: Mapping[str, list[str]]) -> list[str]:
    """Subjects that lack the same quantities, in one phrase each; those that lack all by their names alone."""
    alike: dict[str, list[str]] = {}
    for subject, names in found.items():
        alike.setdefault(", ".join(names), []).append(subject)
    return [f"{names} of {', '.join(of)}" if names else ", ".join(of) for names, of in alike.items()]


def pairs(document: Document) -> int:
    """How many starts of VM and container can be compared."""
    return min(map(len, starts(document)))


def starts(document: Document) -> list[list[float]]:
    """The samples of a start of VM and container, by what it is timed by."""
    quantity = started_by(document["samples"])
    return [document["samples"].get(f"{side}.{quantity}", []) for side in ("vm", "container")]


def sides(document: Document) -> tuple[str, ...]:
    """The columns of the table: the machine's only where something stands in it."""
    full_os = any(line.cells["machine"] for line in table(document))
    return tuple(side for side in SIDES if side != "machine" or full_os)


def command(document: Document) -> tuple[str, ...]:
    """What was typed, to measure this again."""
    image = document["image"]
    ran = ("--", *image["command"]) if image["command"] else ()
    return tuple(document.get("argv") or ("twinhull", "compare", image["reference"], *ran))


def table(document: Document) -> list[TableLine]:
    """The rows of the table, line by line; the topic stands in the first line of its row."""
    return [line for row in document["rows"] for line in table_lines(row)]


def table_lines(row: Mapping[str, Any], between: str = "") -> list[TableLine]:
    """The lines of one row; `between` stands between the machine's figure and its ratio."""
    lines = row["lines"]
    return [
        TableLine(
            row["topic"] if index == 0 else "",
            {"vm": line["vm"], "container": line["container"], "machine": of_machine(line, between)},
            line["comparison"],
            line["claim"],
            line["holds"],
        )
        for index, line in enumerate(lines)
    ]


def of_machine(line: Mapping[str, str], between: str = "") -> str:
    """The machine's cell: its ratio has no column. It stands in parentheses if nothing is to be between the two."""
    text, ratio = line.get("machine", ""), line.get("machine_comparison", "")
    if not between:
        return f"{text} ({ratio})" if text and ratio else text
    return between.join(filter(None, (text, ratio)))


def notes(document: Document) -> list[str]:
    """What stands below the rows of the table, each with its topic."""
    return [f"{row['topic']}: {note}" for row in document["rows"] for note in row.get("notes", ())]
