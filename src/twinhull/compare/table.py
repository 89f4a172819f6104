"""What the table of a comparison is made of: rows of lines, a line of cells, a cell of a figure or a fact.

Promise: no side's cell is empty: one without a figure or a fact says why.
"""

from __future__ import annotations

from twinhull.compare import figures
from twinhull.compare.findings import Findings
from twinhull.compare.statistics import Ratio, Summary
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    Holds = Literal["holds", "in part", "not here", "not measured", "too few samples", ""]


COLUMNS = ("vm", "container", "machine")


class Figure(NamedTuple):
    """One measured quantity of a cell. `unit` is s, B, % or "" for a count."""

    name: str
    unit: str
    summary: Summary


class Cell(NamedTuple):
    """What one side shows in one line."""

    text: str
    figure: Figure | None = None


class Line(NamedTuple):
    """One line of a row: both sides, how they compare, and what that says about a claim.

    `note` takes the ratio's place where facts and not figures are compared; `ratio` is the VM's to the
    container's, `machine_ratio` the machine's.
    """

    vm: Cell
    container: Cell
    ratio: Ratio | None = None
    note: str = ""
    claim: str = ""
    holds: Holds = ""
    machine: Cell = Cell("")
    machine_ratio: Ratio | None = None


class Row(NamedTuple):
    """One topic. Its verdict is the first line with a claim; `notes` stand below it, as wide as the table."""

    topic: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def measured(findings: Findings, key: str, unit: str, label: str) -> Cell:
    """A cell with a figure, or with the reason why there is none."""
    summary = findings.summary(key)
    if summary is None:
        return Cell(f"{label}: {findings.reason(key)}")
    return Cell(f"{figures.spread(summary, unit)} {label}", Figure(key, unit, summary))


def fact_line(
    findings: Findings,
    label: str,
    key: str,
    facts: Mapping[str, str],
    *,
    note: str = "",
    claim: str = "",
    holds: Holds = "",
) -> Line:
    """The same fact of every side: side -> text; "" where it was not found out, which the gap of that key explains."""
    cells = {side: Cell(facts.get(side) or f"{label}: {findings.reason(f'{side}.{key}')}") for side in COLUMNS}
    machine = cells["machine"] if findings.runs("machine") else Cell("")
    return Line(cells["vm"], cells["container"], None, note, claim, holds, machine)


def larger(ratio: Ratio | None) -> Holds:
    """A claim that the VM's side is larger. On the range of a few values alone no verdict rests."""
    if ratio is None:
        return "not measured"
    if ratio.bounds == "range" and not ratio.shown:
        return "too few samples"
    return "holds" if ratio.shown and ratio.value > 1 else "not here"


def quantity_line(findings: Findings, key: str, unit: str, label: str, claim: str = "") -> Line:
    """The same quantity on both sides."""
    ratio, machine_ratio = (findings.ratio(f"{side}.{key}", f"container.{key}") for side in ("vm", "machine"))
    vm, container = (measured(findings, f"{side}.{key}", unit, label) for side in ("vm", "container"))
    machine = measured(findings, f"machine.{key}", unit, label) if findings.runs("machine") else Cell("")
    note = (
        "" if ratio else "no ratio: a median is 0" if vm.figure and container.figure else "no ratio: a side is missing"
    )
    return Line(vm, container, ratio, note, claim, larger(ratio) if claim else "", machine, machine_ratio)
