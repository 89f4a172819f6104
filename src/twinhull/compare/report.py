"""How a comparison looks: the rows of a table of at most 100 columns, and one JSON document.

Promise: both forms hold the same content; every cell is wrapped, never cut.
"""

from __future__ import annotations

import textwrap

from twinhull.advice import advise
from twinhull.advice.advise import Advice
from twinhull.compare import figures
from twinhull.compare.clocks import shares
from twinhull.compare.findings import Description, Findings, ImageFacts
from twinhull.compare.startup_row import phase_summaries
from twinhull.compare.statistics import Ratio, rank_test
from twinhull.compare.table import Cell, Line, Row
from twinhull.host.doctor import Fact
from twinhull.host.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

SCHEMA = 1
WIDTH = 100
COLUMNS = (12, 29, 30, 16, 13)  # topic, VM, container, ratio, claim; with one space between them
TITLES = ("", "VIRTUAL MACHINE", "CONTAINER", "VM ÷ CONTAINER", "CLAIM")
# With a machine the ratios stand under the figures.
WIDE_COLUMNS = (12, 25, 25, 25, 13)
WIDE_TITLES = ("", "VIRTUAL MACHINE", "CONTAINER", "MACHINE", "CLAIM")
MARKS = {"holds": "=", "in part": "~", "not here": "x", "not measured": "?", "too few samples": "?", "": ""}
LEGEND = (
    "  [95 % interval] (range, of fewer than 6)   = holds ~ in part x not here ? not measured or too few\n"
    "  --html FILE   --full   --format json"
)


def titles(*, machine: bool = False) -> str:
    """The names of the columns."""
    return table_line(WIDE_TITLES if machine else TITLES, machine=machine)


def table_line(cells: Sequence[str], *, machine: bool = False) -> str:
    """One line of the table, each cell padded to its column."""
    widths = WIDE_COLUMNS if machine else COLUMNS
    padded = (cell.ljust(width - 1) for cell, width in zip(cells, widths, strict=True))
    return " ".join(padded).rstrip()


def render_row(row: Row, *, machine: bool = False) -> str:
    """A row of the table: several lines, each cell wrapped within its column, and what stands below it.

    With a machine there are three sides, and the ratios to the container's stand under the figures.
    """
    lines = []
    widths = WIDE_COLUMNS if machine else COLUMNS
    for index, line in enumerate(row.lines):
        texts = (row.topic if index == 0 else "", *(wide_cells(line) if machine else cells(line)), verdict(line))
        wrapped = [wrap_cell(text, width - 1) for text, width in zip(texts, widths, strict=True)]
        height = max(map(len, wrapped))
        lines += [
            table_line([cell[n] if n < len(cell) else "" for cell in wrapped], machine=machine) for n in range(height)
        ]
    indent = " " * COLUMNS[0]
    lines += [wrap(f"{indent}{note}", f"{indent}  ") for note in row.notes]
    return "\n".join(line for line in lines if line)


def wrap_cell(text: str, width: int) -> list[str]:
    """The lines of a cell; a line break in it stays one."""
    return [part for line in text.split("\n") for part in textwrap.wrap(line, width)] or [""]


def cells(line: Line) -> tuple[str, str, str]:
    """Both sides, and how they compare."""
    return line.vm.text, line.container.text, comparison(line)


def wide_cells(line: Line) -> tuple[str, str, str]:
    """All three sides, each with its ratio to the container's below it."""
    vm = "\n".join(filter(None, (line.vm.text, comparison(line))))
    ratio = figures.times(line.machine_ratio) if line.machine_ratio else ""
    return vm, line.container.text, "\n".join(filter(None, (line.machine.text, ratio)))


def comparison(line: Line) -> str:
    """What stands between the sides and the claim."""
    return figures.times(line.ratio) if line.ratio else line.note


def verdict(line: Line) -> str:
    """The claim behind its mark."""
    return f"{MARKS[line.holds]} {line.claim}" if line.claim else ""


def without_root(facts: Iterable[Fact], image: ImageFacts) -> str:
    """What can be said where nothing may be run: the host's facts, and the image's."""
    size = figures.quantity(image.transfer_bytes, "B") if image.transfer_bytes else "size unknown until it is pulled"
    source = f" ({image.platforms_source})" if image.platforms_source else ""
    lines = [f"image: {size}; {', '.join(image.platforms) or 'platforms unknown'}{source}"]
    lines += [f"{fact.name}: {fact.state}, {fact.detail}" for fact in facts if fact.needed_for in ("root", "run", "vm")]
    return "\n".join(wrap(line, "  ") for line in lines)


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
    """The whole result as one JSON object, with raw samples. A section that was not measured is empty."""
    return {
        "schema": SCHEMA,
        "version": version,
        "took_s": round(took_s, 3),
        "effort": findings.effort,
        "argv": list(findings.argv),
        "image": findings.image._asdict(),
        "host": host_json(findings, machine, noise),
        "subjects": [subject_json(findings, found) for found in findings.subjects],
        "rows": [row_json(row) for row in rows],
        "recommendation": advise.document(advice),
        "samples": findings.samples,
        "statistics": {key: summary.document() for key in findings.samples if (summary := findings.summary(key))},
        "comparisons": comparisons(findings),
        "phases": phases(findings),
        "inside": findings.inside,
        "probes": findings.probes,
        "density": findings.density,
        "load": findings.load,
        "portability": findings.portability,
        "only": findings.only,
        "stacks": findings.stacks,
        "gaps": findings.gaps,
        "limits": findings.limits,
        "exit_codes": findings.exit_codes,
        "monitor": findings.monitor._asdict() if findings.monitor else None,
    }


def subject_json(findings: Findings, found: Description) -> dict[str, str]:
    """A subject, with the reason if it turned out not to run."""
    return {**found._asdict(), "gap": found.gap or findings.gaps.get(found.name, "")}


def comparisons(findings: Findings) -> list[dict[str, Any]]:
    """Every quantity that the container has, of each other subject against it."""
    found = []
    for key in findings.samples:
        subject, _, quantity = key.partition(".")
        base = f"container.{quantity}"
        ratio = findings.ratio(key, base)
        if subject == "container" or ratio is None or quantity.startswith("phase_"):
            continue
        test = rank_test(findings.samples[key], findings.samples[base])
        ranks = {"p": test.p if test else None, "effect": test.effect if test else None}
        figure = {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, **ranks}
        sides = {"quantity": quantity, "first": subject, "second": "container"}
        found.append({**sides, **figure, **{key: getattr(ratio, key) for key in ("shown", "resolution", "bounds")}})
    return found


def phases(findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """The phases of each subject's start in their order, with their shares of all of them."""
    found = {}
    for subject in findings.subjects:
        summaries = phase_summaries(findings, subject.name)
        parts = shares({name: summary.median for name, summary in summaries.items()})
        if summaries:
            found[subject.name] = [
                {
                    "name": name,
                    "median_s": s.median,
                    "low": s.low,
                    "high": s.high,
                    "bounds": s.bounds,
                    "share": parts.get(name, 0.0),
                }
                for name, s in summaries.items()
            ]
    return found


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
        "machine": side_json([line.machine for line in row.lines]),
        "verdict": verdicts[0] if verdicts else none,
        "also": verdicts[1:],
        "lines": [cells for line in row.lines if any((cells := line_json(line)).values())],
        "notes": list(row.notes),
    }


def line_json(line: Line) -> dict[str, str]:
    """One line as it is printed, so that a table can be made of a saved document."""
    cells = {"vm": line.vm.text, "container": line.container.text, "machine": line.machine.text}
    machine = figures.times(line.machine_ratio) if line.machine_ratio else ""
    compared = {"comparison": comparison(line), "machine_comparison": machine}
    return {**cells, **compared, "claim": line.claim, "holds": line.holds}


def side_json(cells: Iterable[Cell]) -> dict[str, Any]:
    """The texts of one side and the figures behind them."""
    filled = [cell for cell in cells if cell.text]
    named = [cell.figure for cell in filled if cell.figure]
    return {
        "text": [cell.text for cell in filled],
        "figures": [{"name": f.name, "unit": f.unit, **f.summary.document()} for f in named],
    }


def verdict_json(line: Line) -> dict[str, Any]:
    """A claim with the ratio that speaks for or against it."""
    ratio: Ratio | None = line.ratio
    return {
        "claim": line.claim,
        "holds": line.holds,
        "ratio": ratio.value if ratio else None,
        "interval": [ratio.low, ratio.high] if ratio and ratio.bounds == "interval" else None,
    }
