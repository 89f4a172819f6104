"""The comparison as a JUnit report: one test case a claim and one a condition, for CI services.

A claim that could be judged passes, whichever way it came out: its verdict is in the output, and only --fail-if says
what must not be so. A condition that is so is a failure, one that was not measured an error. Gaps are skipped.

Promise: well-formed XML 1.0 whatever the document holds, with the elements and attributes of the common schema.
"""

from __future__ import annotations

from twinhull.compare.outputs import conditions, document
from twinhull.compare.outputs.printable import printable
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal
    from xml.etree.ElementTree import Element

    from twinhull.compare.outputs.document import Document

    Kind = Literal["", "failure", "error", "skipped"]
KINDS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


class Case(NamedTuple):
    """One test case; a `kind` of "" passed."""

    group: str
    name: str
    kind: Kind
    message: str


def render(result: Document) -> str:
    """The report with one suite."""
    from xml.etree.ElementTree import Element, indent, tostring

    cases = [*claims(result), *judged(result), *gaps(result)]
    counts = {name: str(sum(case.kind == kind for case in cases)) for kind, name in KINDS.items()}
    name = printable(f"twinhull compare {result['image']['reference']}")
    totals = {"name": name, "tests": str(len(cases)), **counts, "time": f"{result['took_s']:.3f}"}
    root = Element("testsuites")
    suite = Element("testsuite", totals)
    root.append(suite)
    suite.extend([element(case) for case in cases])
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def element(case: Case) -> Element:
    """One case as XML."""
    from xml.etree.ElementTree import Element, SubElement

    made = Element("testcase", {"classname": printable(case.group), "name": printable(case.name), "time": "0"})
    message = printable(case.message)
    if case.kind:
        SubElement(
            made, case.kind, {"message": message} | ({"type": printable(case.group)} if case.kind != "skipped" else {})
        )
    elif message:
        SubElement(made, "system-out").text = message
    return made


def claims(result: Document) -> Iterator[Case]:
    """Every claim of the table."""
    topic = ""
    for line in document.table(result):
        topic = line.topic or topic
        if line.claim:
            sides = "; ".join(f"{side}: {text}" for side, text in line.cells.items() if text)
            said = f"{line.holds}. {sides}{f'; VM ÷ container {line.ratio}' if line.ratio else ''}"
            yield Case(
                f"claims.{topic}",
                line.claim,
                "skipped" if line.holds in ("not measured", "too few samples") else "",
                said,
            )


def judged(result: Document) -> Iterator[Case]:
    """Every --fail-if."""
    kinds: dict[str, Kind] = {"so": "failure", "not so": "", "not measured": "error"}
    for one in result.get("conditions", ()):
        yield Case("fail-if", one["expression"], kinds[one["outcome"]], conditions.describe(one))


def gaps(result: Document) -> Iterator[Case]:
    """Everything that was not measured."""
    for what, why in document.missing(result["gaps"]):
        yield Case("gaps", what, "skipped", why)
