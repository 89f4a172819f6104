"""Startup: the whole command as a user types it, to each of its clocks, and where the time goes.

Promise: the references stand below both sides, with the same clock and the same base.
"""

from __future__ import annotations

from twinhull.compare import clocks, figures
from twinhull.compare.findings import Findings
from twinhull.compare.statistics import Summary
from twinhull.compare.table import Cell, Line, Row, fact_line, measured, quantity_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinhull.compare.table import Holds

MINUTES_S = 60.0
FIRST = "first_output_s"
SHOWN = 0.03  # a smaller share of a start is in the document only
SEEN = {FIRST: "1st byte", "healthy_s": "1st answer"}
QUANTITIES = ((FIRST, "to 1st byte"), ("healthy_s", "to 1st answer"), ("exec_s", "exec"), ("stop_s", "stop"))


def startup_row(findings: Findings) -> Row:
    """All lines of the topic; those of a clock that this workload does not have are left out."""
    lines = [
        usual(findings),
        *template(findings),
        *boot(findings),
        quantity_line(findings, "total_s", "s", "to exit"),
        *(optional(findings, "healthy_s", "1st answer") if findings.start == FIRST else ()),
        *optional(findings, "exec_s", "exec"),
        *optional(findings, "stop_s", "stop"),
    ]
    return Row("Startup", tuple(lines), tuple(references(findings)))


def usual(findings: Findings) -> Line:
    """The usual start of both sides, with where its time goes."""
    line = quantity_line(findings, findings.start, "s", SEEN[findings.start], "slower")
    return line._replace(
        vm=with_phases(findings, "vm", line.vm),
        container=with_phases(findings, "container", line.container),
        machine=Cell("no template: it boots each time") if findings.runs("machine") else Cell(""),
        machine_ratio=None,
    )


def asked_for(findings: Findings, subject: str) -> bool:
    """True if a kind of start takes part."""
    return f"{subject}.{findings.start}" in findings.samples or any(
        found.name == subject for found in findings.subjects
    )


def template(findings: Findings) -> list[Line]:
    """A start without an imprint; none if it was not asked for, or is the usual one."""
    if not asked_for(findings, "vm_template") or "vm_template" in findings.gaps:
        return []
    start = findings.start
    key = f"vm_template.{start}"
    line = fact_line(findings, "template", start, {"container": "needs none", "machine": "has none"})
    return [line._replace(vm=measured(findings, key, "s", "template"), ratio=findings.ratio(key, f"container.{start}"))]


def boot(findings: Findings) -> list[Line]:
    """A cold start, and whether it takes minutes: that of an entire OS, or without one that of a guest's kernel."""
    if not asked_for(findings, "vm_cold") and not findings.runs("machine"):
        return []
    start = findings.start
    key = f"vm_cold.{start}"
    minutes = takes_minutes(findings.samples.get(f"machine.{FIRST}") or findings.samples.get(key) or ())
    full = quantity_line(findings, FIRST, "s", "boot")
    cold = measured(findings, key, "s", "boot") if asked_for(findings, "vm_cold") else Cell("boot: not asked for")
    line = fact_line(findings, "boot", FIRST, {"container": "nothing to boot"}, claim="minutes", holds=minutes)
    return [
        line._replace(
            vm=with_phases(findings, "vm_cold", cold),
            ratio=findings.ratio(key, f"container.{start}"),
            machine=with_phases(findings, "machine", full.machine),
            machine_ratio=full.machine_ratio,
        )
    ]


def with_phases(findings: Findings, subject: str, cell: Cell) -> Cell:
    """A figure of a start, with where its time goes."""
    phases = where(findings, subject)
    return cell._replace(text=f"{cell.text}: {phases}") if cell.figure and phases else cell


def takes_minutes(boots: Sequence[float]) -> Holds:
    """Judged by every boot: each is long or is not, and few of them need no interval to say so."""
    if not boots:
        return "not measured"
    long = [boot >= MINUTES_S for boot in boots]
    return "holds" if all(long) else "in part" if any(long) else "not here"


def optional(findings: Findings, quantity: str, label: str) -> list[Line]:
    """A line for what was measured of either side, or tried."""
    keys = {f"{side}.{quantity}" for side in ("vm", "container", "machine")}
    return (
        [quantity_line(findings, quantity, "s", label)]
        if keys & (findings.samples.keys() | findings.gaps.keys())
        else []
    )


def where(findings: Findings, subject: str) -> str:
    """The share of each phase until the first byte: engine 41 %, init 33 %, app 20 %."""
    medians = {name: summary.median for name, summary in phase_summaries(findings, subject).items()}
    until_first = {name: value for name, value in medians.items() if name not in ("exit", "clean")}
    shares = clocks.shares(until_first)
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= SHOWN)


def phase_summaries(findings: Findings, subject: str) -> dict[str, Summary]:
    """Phase -> median and interval, in the order in which they happen."""
    found = {phase.name: findings.summary(clocks.sample_key(subject, phase.name)) for phase in clocks.PHASES}
    return {name: summary for name, summary in found.items() if summary is not None}


def references(findings: Findings) -> list[str]:
    """One line for each engine that was measured beside ours: docker 365 ms [340, 390] to 1st byte, 11x container."""
    lines = []
    for found in findings.subjects:
        if found.kind != "reference" or found.name in findings.gaps:
            continue
        parts = [
            text for quantity, label in QUANTITIES if (text := reference_text(findings, found.name, quantity, label))
        ]
        reason = findings.reason(f"{found.name}.{findings.start}")
        lines.append(f"{found.name:7} {'; '.join(parts) or reason}")
    return lines


def reference_text(findings: Findings, name: str, quantity: str, label: str) -> str:
    """One figure of a reference and its ratio to the container's; "" without one."""
    summary = findings.summary(f"{name}.{quantity}")
    if summary is None:
        return ""
    ratio = findings.ratio(f"{name}.{quantity}", f"container.{quantity}")
    shown = ""
    if ratio is not None:
        alike = not ratio.shown and ratio.bounds == "interval"
        shown = ", as the container" if alike else f", {figures.factor(ratio.value)}x container"
    return f"{figures.spread(summary, 's')} {label}{shown}"
