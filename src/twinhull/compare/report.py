"""How a comparison looks: a table of at most 100 columns, row by row, and one JSON document.

Promise: both forms hold the same content; every cell is wrapped, never cut.
"""

from __future__ import annotations

import textwrap

from twinhull.advice import advise
from twinhull.advice.advise import Advice
from twinhull.compare import figures
from twinhull.compare.findings import SIDES, Findings, ImageFacts
from twinhull.compare.rows import Cell, Line, Row
from twinhull.compare.statistics import Ratio
from twinhull.host.doctor import Fact
from twinhull.host.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

WIDTH = 100
COLUMNS = (12, 29, 30, 16, 13)  # topic, VM, container, ratio, claim; with one space between them
TITLES = ("", "VIRTUAL MACHINE", "CONTAINER", "VM ÷ CONTAINER", "CLAIM")
MARKS = {"holds": "=", "in part": "~", "not here": "x", "not measured": "?", "": ""}
LEGEND = "[95 % interval of the median]   = holds   ~ in part   x not here   ? not measured"


def heading(image: str, machine: Machine) -> str:
    """The first lines: what is compared, and where."""
    memory = figures.quantity(machine.memory_bytes, "B")
    where = f"{machine.processors} x {machine.processor}, {memory}, {machine.host.describe()}"
    return wrap(f"twinhull compare {image}    {machine.system}, Linux {machine.kernel}; {where}", "  ")


def titles() -> str:
    """The names of the columns."""
    return table_line(TITLES)


def table_line(cells: Sequence[str]) -> str:
    """One line of the table, each cell padded to its column."""
    padded = (cell.ljust(width - 1) for cell, width in zip(cells, COLUMNS, strict=True))
    return " ".join(padded).rstrip()


def render_row(row: Row) -> str:
    """A row of the table: several lines, each cell wrapped within its column."""
    lines = []
    for index, line in enumerate(row.lines):
        texts = (row.topic if index == 0 else "", line.vm.text, line.container.text, comparison(line), verdict(line))
        cells = [textwrap.wrap(text, width - 1) or [""] for text, width in zip(texts, COLUMNS, strict=True)]
        height = max(map(len, cells))
        lines += [table_line([cell[n] if n < len(cell) else "" for cell in cells]) for n in range(height)]
    return "\n".join(line for line in lines if line)


def comparison(line: Line) -> str:
    """What stands between the sides and the claim."""
    return figures.times(line.ratio) if line.ratio else line.note


def verdict(line: Line) -> str:
    """The claim behind its mark."""
    return f"{MARKS[line.holds]} {line.claim}" if line.claim else ""


def warning(findings: Findings) -> str:
    """What a reader must know before any figure; "" if there is nothing."""
    sentences = list(findings.limits)
    if findings.accelerator == "tcg":
        why = f" ({findings.accelerator_reason})" if findings.accelerator_reason else ""
        sentences.insert(0, f"KVM is not usable{why}. The VM runs under TCG: slow, and no security boundary.")
    return "\n".join(wrap(f"! {sentence}", "  ") for sentence in sentences)


def without_root(facts: Iterable[Fact], image: ImageFacts) -> str:
    """What can be said where nothing may be run: the host's facts, and the image's."""
    size = figures.quantity(image.transfer_bytes, "B") if image.transfer_bytes else "size unknown until it is pulled"
    source = f" ({image.platforms_source})" if image.platforms_source else ""
    lines = [f"image: {size}; {', '.join(image.platforms) or 'platforms unknown'}{source}"]
    lines += [f"{fact.name}: {fact.state}, {fact.detail}" for fact in facts if fact.needed_for in ("run", "vm")]
    return "\n".join(wrap(line, "  ") for line in lines)


def missing_side(side: str, reason: str) -> str:
    """One side is not there, and why."""
    return wrap(f"! No {SIDES[side]} ran: {reason}", "  ")


def failures(failed: Mapping[str, Sequence[str]]) -> str:
    """Runs that failed; "" if none did."""
    lines = [f"! {len(reasons)} starts of {name} failed: {reasons[-1]}" for name, reasons in failed.items()]
    return "\n".join(wrap(line, "  ") for line in lines)


def footer(findings: Findings, advice: Advice, took_s: float, noise: float | None, resolution: float | None) -> str:
    """The recommendation, then how it was measured."""
    reasons = ", and ".join(advice.reasons)
    lines = [wrap(f"> {advice.choice.upper()}: {reasons}.", "  ")]
    if advice.would_change:
        lines.append(wrap(f"  Would change it: {'; '.join(advice.would_change)}.", "  "))
    pairs = min(len(findings.samples.get(f"{side}.first_output_s", ())) for side in ("vm", "container"))
    command = " ".join(findings.image.command) or "the image's command"
    method = [f"ran: {command}", f"{pairs} pairs", f"{took_s:.0f} s"]
    if noise is not None:
        method.append(f"noise of the machine {noise:.0%}")
    if resolution is not None:
        method.append(f"differences of start shown from {resolution:.0%}")
    lines += [f"  {LEGEND}", wrap(f"  {', '.join(method)}", "  ")]
    return "\n".join(lines)


def wrap(text: str, indent: str) -> str:
    """Break a sentence at the width of the table."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def document(
    findings: Findings,
    machine: Machine,
    rows: Iterable[Row],
    advice: Advice,
    *,
    took_s: float,
    noise: float | None,
    version: str,
) -> dict[str, Any]:
    """The whole result as one JSON object, with raw samples."""
    return {
        "version": version,
        "image": findings.image._asdict(),
        "host": host_json(findings, machine, noise),
        "rows": [row_json(row) for row in rows],
        "recommendation": advise.document(advice),
        "inside": findings.inside,
        "gaps": findings.gaps,
        "limits": findings.limits,
        "took_s": round(took_s, 3),
        "samples": findings.samples,
    }


def host_json(findings: Findings, machine: Machine, noise: float | None) -> dict[str, Any]:
    """The machine, so that two results can be told apart."""
    described = machine._asdict()
    described["host"] = machine.host._asdict()
    accelerator = {"accelerator": findings.accelerator, "accelerator_reason": findings.accelerator_reason}
    return {**described, **accelerator, "noise": noise}


def row_json(row: Row) -> dict[str, Any]:
    """One row: both sides and the verdict of its first claim; further claims under `also`."""
    verdicts = [verdict_json(line) for line in row.lines if line.claim]
    none = {"claim": "", "holds": "", "ratio": None, "interval": None}
    return {
        "topic": row.topic,
        "vm": side_json([line.vm for line in row.lines]),
        "container": side_json([line.container for line in row.lines]),
        "verdict": verdicts[0] if verdicts else none,
        "also": verdicts[1:],
    }


def side_json(cells: Iterable[Cell]) -> dict[str, Any]:
    """The texts of one side and the figures behind them."""
    filled = [cell for cell in cells if cell.text]
    named = [cell.figure for cell in filled if cell.figure]
    return {
        "text": [cell.text for cell in filled],
        "figures": [{"name": f.name, "unit": f.unit, **f.summary._asdict()} for f in named],
    }


def verdict_json(line: Line) -> dict[str, Any]:
    """A claim with the ratio that speaks for or against it."""
    ratio: Ratio | None = line.ratio
    return {
        "claim": line.claim,
        "holds": line.holds,
        "ratio": ratio.value if ratio else None,
        "interval": [ratio.low, ratio.high] if ratio else None,
    }
