"""A comparison as text: the table of at most 100 columns, what stands above and below it, and what was asked of it.

Promise: a saved document gives the same text as the run that made it. The run prints its parts as they come.
"""

from __future__ import annotations

from twinhull.compare import figures, report, statistics
from twinhull.compare.findings import SIDES
from twinhull.compare.outputs import changes, conditions, document
from twinhull.compare.outputs.printable import printable
from twinhull.compare.session import FULL, QUICK
from twinhull.compare.table import Cell, Line, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from twinhull.compare.outputs.document import Document

PAIRS: dict[str, int] = {effort.name: effort.pairs for effort in (QUICK, FULL)}
# The stages that may end early, as their gaps are called.
STAGES = {
    "templates.rounds": "starts from the template alone",
    "lives.rounds": "exec and stop",
    "instances.rounds": "memory",
    "copies.rounds": "many at once",
}


def render(result: Document) -> str:
    """The whole text of a saved document."""
    clean: Document = inert(result)
    full_os = "machine" in document.sides(clean)
    parts = [
        heading(clean["image"]["reference"], clean.get("effort", ""), clean["host"]),
        opening(clean, machine=full_os),
        *(report.render_row(row(found), machine=full_os) for found in clean["rows"]),
        closing(clean),
        asked(clean),
    ]
    return "\n".join(filter(None, parts)) + "\n"


def inert(value: Any) -> Any:
    """The same with every text harmless to look at."""
    if isinstance(value, dict):
        return {printable(name): inert(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [inert(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def heading(reference: str, effort: str, host: Mapping[str, Any]) -> str:
    """The first lines: what is compared, how thoroughly, and where."""
    inside = host.get("host", {}).get("hypervisor", "")
    guest = f", itself a guest of {inside}" if inside else ""
    where = f"{host['processors']} x {host['processor']}, {figures.quantity(host['memory_bytes'], 'B')}{guest}"
    noise = "not measured" if host["noise"] is None else f"{host['noise']:.0%}"
    method = f"{effort}, {PAIRS[effort]} pairs | " if effort else ""
    said = f"twinhull compare {reference}    {method}noise {noise}"
    return report.wrap(f"{said} | Linux {host['kernel']}, {host['system']}; {where}", "  ")


def opening(result: Document, *, machine: bool) -> str:
    """What a reader must know before any figure, and the titles of the table. A run has no rows yet."""
    missing = [missing_side(side, result["gaps"][side]) for side in sorted(SIDES) if side in result["gaps"]]
    return "\n".join(filter(None, (warning(result), *missing, report.titles(machine=machine))))


def warning(result: Document) -> str:
    """That a guest under TCG is no wall, and what this machine could not do; "" if there is nothing."""
    sentences, host = list(result["limits"]), result["host"]
    if host["accelerator"] == "tcg":
        why = f" ({host['accelerator_reason']})" if host.get("accelerator_reason") else ""
        sentences.insert(0, f"KVM is not usable{why}. The VM runs under TCG: slow, and no security boundary.")
    return wrap(f"! {sentence}" for sentence in sentences)


def missing_side(side: str, reason: str) -> str:
    """One side is not there, and why."""
    return report.wrap(f"! No {SIDES[side]} ran: {reason}", "  ")


def row(found: Mapping[str, Any]) -> Row:
    """A row as it was printed, with the ratios in words."""
    lines = [
        Line(
            Cell(line.cells["vm"]), Cell(line.cells["container"]), None, line.ratio, line.claim, line.holds,
            Cell(line.cells["machine"]),
        )
        for line in document.table_lines(found, "\n")
    ]  # fmt: skip
    return Row(found["topic"], tuple(lines), tuple(found.get("notes", ())))


def closing(result: Document) -> str:
    """What stands below the table: what failed or is missing, the recommendation, how it was measured."""
    choice, image = result["recommendation"], result["image"]
    changed = f"Would change it: {'; '.join(choice['would_change'])}.   " if choice["would_change"] else ""
    parts = [
        failed(result.get("exit_codes", {})),
        wrap(f"! {len(why)} starts of {name} failed: {why[-1]}" for name, why in result["failures"].items()),
        shortened(result["gaps"]),
        absent(result),
        report.wrap(f"> {choice['choice'].upper()}: {', and '.join(choice['reasons'])}.", "  "),
        report.wrap(f"  {changed}Why: twinhull advise {image['reference']}", "  "),
        report.wrap(f"  {', '.join(method(result))}", "  "),
        report.LEGEND,
    ]
    return "\n".join(filter(None, parts))


def failed(exit_codes: Mapping[str, int]) -> str:
    """That the workload itself failed; "" if it did not."""
    ends = " and ".join(f"{code} in the {SIDES[side]}" for side, code in sorted(exit_codes.items()) if side in SIDES)
    said = f"! The workload fails: it ended with status {ends}. What was measured is a run that fails."
    return report.wrap(said, "  ") if ends else ""


def shortened(gaps: Mapping[str, str]) -> str:
    """The stages that ended early; "" if none did."""
    told = "; ".join(f"{STAGES[key]}: {reason}" for key, reason in gaps.items() if key in STAGES)
    return report.wrap(f"! Fewer rounds than planned: {told}.", "  ") if told else ""


def absent(result: Document) -> str:
    """What was not measured, a line for each reason: subjects, sections, and what no cell of the table tells of."""
    cells = " ".join(text for line in document.table(result) for text in line.cells.values())
    untold = {
        name: reason
        for name, reason in result["gaps"].items()
        if name not in SIDES and name not in STAGES and not ("." in name and reason in cells)
    }
    lines = [report.wrap(f"    {what}: {why}", "      ") for what, why in document.missing(untold)]
    return "\n".join(("  Not measured:", *lines)) if lines else ""


def method(result: Document) -> list[str]:
    """What was run, how often, how long it took, and what difference of a start it could show."""
    starts = document.starts(result)
    ends = [result["samples"].get(f"{side}.total_s", ()) for side in SIDES]  # of what writes nothing
    pairs = min(filter(None, map(len, starts if any(starts) else ends)), default=0)
    command = " ".join(result["image"]["command"]) or "the image's command"
    said = [f"ran: {command}", f"{pairs} pairs", f"{result['took_s']:.0f} s"]
    ratio = statistics.compare(*starts)
    if ratio and ratio.resolution is not None:
        said.append(f"differences of start shown from {ratio.resolution:.0%}")
    return said


def asked(result: Document) -> str:
    """The changes since an earlier run; "" if nothing was asked."""
    found = result.get("changes")
    return wrap(changes.lines(found)) if found else ""


def judged(found: Iterable[dict[str, Any]]) -> str:
    """A line for each --fail-if."""
    return wrap(f"fail-if {conditions.describe(one)}" for one in found)


def wrap(lines: Iterable[str]) -> str:
    """Each line broken at the width of the table."""
    return "\n".join(report.wrap(printable(line), "  ") for line in lines)
