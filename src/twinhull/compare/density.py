"""How many instances fit on this machine, and which limit binds first.

Promise: what one instance takes is counted on running ones, and what is left is read from the kernel in
the same run; a limit that could not be read is left out, never guessed.
"""

from __future__ import annotations

from twinhull.advice.price import binding
from twinhull.compare import figures, statistics
from twinhull.compare.findings import Findings
from twinhull.engine import Engine
from twinhull.engine.room import Weight, Weights, ranked, read_room, tasks_and_files
from twinhull.host import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.advice.question import Limit
    from twinhull.compare.session import Instances, Session
    from twinhull.compare.statistics import Bounds
    from twinhull.compare.subject import Idle


def observe(session: Session, groups: Mapping[str, Instances], totals: Mapping[str, Sequence[float]]) -> None:
    """Compute the density of each side while its instances run."""
    with Engine(session.config) as engine:
        room = read_room(engine.home)
    for name, group in groups.items():
        if not group.idle or len(totals[name]) < 2:
            session.findings.gap(f"{name}.density", session.findings.reason(f"{name}.memory_bytes"))
            continue
        weights = weigh(session.findings, name, group.idle)
        session.findings.weights[name] = {"tasks": weights.middle.tasks, "files": weights.middle.files}
        bounds = statistics.bounds(len(group.idle))
        session.findings.density[name] = entry(ranked(weights, room), weights.middle, totals[name], bounds)


def weigh(findings: Findings, name: str, idle: Sequence[Idle]) -> Weights:
    """What was measured, and the tasks and files of the instances that run now."""
    trees = [memory.tree(one.supervisor) for one in idle]
    tasks, files = zip(*map(tasks_and_files, trees), strict=True)

    def measured(key: str) -> tuple[float, float, float]:
        summary = findings.summary(f"{name}.{key}")
        ends = (summary.median, summary.low, summary.high) if summary else (0.0, 0.0, 0.0)
        return max(ends[0], 0.0), max(ends[1], 0.0), max(ends[2], 0.0)

    own, kernel, disk, idling = map(measured, ("memory_bytes", "kernel_bytes", "disk_bytes", "idle_percent"))
    return Weights(
        *(
            Weight(
                memory_bytes=own[end] + kernel[end],
                disk_bytes=disk[end],
                processor_percent=idling[end],
                tasks=statistics.median(tasks),
                files=statistics.median(files),
            )
            for end in range(3)
        )
    )


def entry(
    found: Sequence[Limit], weight: Weight, totals: Sequence[float], bounds: Bounds = "interval"
) -> dict[str, Any]:
    """The density of one side as the document has it. `points` is [[instances, bytes of all of them], …]."""
    return {
        "limits": [
            {"name": limit.name, "count": limit.most, "low": limit.low, "high": limit.high, "basis": limit.basis}
            for limit in found
        ],
        "binds": found[0].name if found else "",
        "bounds": bounds,
        "may_bind": [limit.name for limit in rivals(found)],
        "slope_bytes": weight.memory_bytes,
        "points": [[number, total] for number, total in enumerate(totals, 1)],
    }


def rivals(found: Sequence[Limit]) -> list[Limit]:
    """The limits that may be reached before the first one: their intervals overlap."""
    first = found[0].high if found else 0
    return [limit for limit in found[1:] if first is None or limit.low <= first]


def told(density: Mapping[str, Any] | None) -> str:
    """One phrase: how many more fit, and what ends it; "" if that was not measured."""
    if not density or not density["limits"]:
        return ""
    first, rivals, bounds = density["limits"][0], density.get("may_bind", []), density.get("bounds", "interval")
    if rivals:
        return (
            f"{count(first, bounds)} more fit: {' or '.join((first['name'], *rivals))} first, their {bounds}s overlap"
        )
    return f"{count(first, bounds)} more fit: {binding(first['name'])}"


def count(limit: Mapping[str, Any], bounds: str) -> str:
    """How many, with the interval or the range of few values: 1,009 or 477 [470, 481] or 477 (470–481)."""
    low, high, most = limit.get("low"), limit.get("high"), f"{limit['count']:,.0f}"
    if low is None or low == high:
        return most
    return f"{most} {figures.ends(f'{low:,.0f}', 'any' if high is None else f'{high:,.0f}', bounds)}"
