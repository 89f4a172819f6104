"""A saved comparison as the table that was printed when it was measured, and what was asked of it since."""

from __future__ import annotations

from twinhull.compare import report
from twinhull.compare.outputs import changes, conditions, document
from twinhull.compare.outputs.method import method, wall
from twinhull.compare.outputs.printable import printable
from twinhull.compare.table import Cell, Line, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinhull.compare.outputs.document import Document


def render(result: Document) -> str:
    """Warning, table, recommendation, gaps and method, at most 100 columns wide."""
    choice, facts = result["recommendation"], dict(method(result))
    full_os = "machine" in document.sides(result)
    warnings = [wall(result)] if result["host"]["accelerator"] != "kvm" else []
    parts = [
        wrap((f"twinhull compare {result['image']['reference']}    {facts['Machine']}",)),
        wrap(f"! {sentence}" for sentence in (*warnings, *result["limits"])),
        report.titles(machine=full_os),
        *(report.render_row(row(line), machine=full_os) for line in document.table(result)),
        wrap(f"  {note}" for note in document.notes(result)),
        wrap((f"> {choice['choice'].upper()}: {', and '.join(choice['reasons'])}.",)),
        wrap((f"  Would change it: {'; '.join(choice['would_change'])}.",) if choice["would_change"] else ()),
        report.LEGEND,
        wrap((f"  ran: {facts['Command']}; {facts['Effort']}; noise of the machine {facts['Noise of the machine']}",)),
        wrap(f"- {name}: {reason}" for name, reason in result["gaps"].items()),
        asked(result),
    ]
    return "\n".join(filter(None, parts)) + "\n"


def row(line: document.TableLine) -> Row:
    """A line as a row of its own, which is how the table prints it."""
    vm, container, machine = (Cell(printable(line.cells[side])) for side in document.SIDES)
    shown = Line(vm, container, None, printable(line.ratio), printable(line.claim), line.holds, machine)
    return Row(printable(line.topic), (shown,))


def asked(result: Document) -> str:
    """The changes since an earlier run; "" if nothing was asked."""
    found = result.get("changes")
    return wrap(changes.lines(found)) if found else ""


def judged(result: Document) -> str:
    """A line for each --fail-if."""
    return wrap(f"fail-if {conditions.describe(one)}" for one in result.get("conditions", ()))


def wrap(lines: Iterable[str]) -> str:
    """Each line broken at the width of the table."""
    return "\n".join(report.wrap(printable(line), "  ") for line in lines)
