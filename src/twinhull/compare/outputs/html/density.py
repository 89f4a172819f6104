"""The curve of density: what was measured, where it leads, and every limit on the way."""

from __future__ import annotations

from twinhull.compare import figures
from twinhull.compare.outputs.html.axis import LogAxis
from twinhull.compare.outputs.html.charts import WIDTH, colour, decades, grid, line, svg, text, tick_label
from twinhull.compare.outputs.html.element import element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.compare.outputs.html.element import Element

LEFT, RIGHT, TOP, PLOT = 76, 24, 20, 190
STEPS = 40  # of the line that goes on from the measured points
LIMIT = 20  # pixels for the name of each limit, under the axis


def curve(identity: str, subject: str, title: str, found: Mapping[str, Any]) -> Element:
    """Instances across, memory upwards, both logarithmic; limits are lines with their names below."""
    limits = sorted(found["limits"], key=lambda limit: limit["count"])
    points = [(count, size) for count, size in found["points"] if count > 0 and size > 0]
    most = max([limit["count"] for limit in limits] + [count for count, _ in points] + [10])
    slope = max(found["slope_bytes"], 1.0)
    first = limits[0]["count"] if limits else most
    sizes = [size for _, size in points] + [total(count, points, slope) for count in (1, first)]
    across = LogAxis(1.0, decades(most), LEFT, WIDTH - RIGHT)
    upwards = LogAxis(max(min(sizes), 1.0) / 2, max(sizes) * 2, TOP + PLOT, TOP)
    steps = [max(first, 1) ** (step / STEPS) for step in range(STEPS + 1)]
    path = " ".join(f"{across.place(count):.1f},{upwards.place(total(count, points, slope)):.1f}" for count in steps)
    drawn = [
        *(mark for index, limit in enumerate(limits) for mark in draw_limit(limit, index, across, found["binds"])),
        *grid(across, TOP, TOP + PLOT, lambda tick: f"{tick:,.0f}"),
        *horizontal(upwards),
        text(WIDTH - RIGHT, TOP + PLOT + 32, "instances", anchor="end", kind="tick"),
        element("polyline", points=path, class_="slope"),
        *(
            element("circle", cx=across.place(count), cy=upwards.place(size), r=4, class_=f"point {colour(subject)}")
            for count, size in points
        ),
    ]
    described = f"One more takes {figures.quantity(slope, 'B')}. Limits: " + ", ".join(
        f"{limit['name']} at {limit['count']:,.0f}" for limit in limits
    )
    return svg(identity, TOP + PLOT + 40 + LIMIT * len(limits), f"How many fit: {title}", described, drawn)


def total(count: float, points: Sequence[tuple[float, float]], slope: float) -> float:
    """The memory of so many instances, if each further one takes what the measured ones took."""
    start, size = points[0] if points else (1.0, slope)
    return max(size + slope * (count - start), 1.0)


def horizontal(axis: LogAxis) -> list[Element]:
    """Lines of equal memory."""
    drawn = []
    for tick in axis.ticks():
        y = axis.place(tick)
        label = text(LEFT - 8, y + 4, tick_label(tick, "B"), anchor="end", kind="tick")
        drawn += [line(LEFT, y, WIDTH - RIGHT, y, "grid"), label]
    return drawn


def draw_limit(limit: Mapping[str, Any], index: int, axis: LogAxis, binds: str) -> list[Element]:
    """A limit's line, and its name at the height of its rank; the one that binds is drawn heavier and says so."""
    x = axis.place(max(limit["count"], 1))
    y = TOP + PLOT + 40 + LIMIT * index
    first = limit["name"] == binds
    label = f"{limit['name']} {limit['count']:,.0f}{', binds first' if first else ''}"
    left = x > WIDTH / 2
    kind = "limit binds" if first else "limit"
    return [
        line(x, TOP, x, y + 4, kind),
        text(x - 8 if left else x + 8, y + 4, label, anchor="end" if left else "start", kind=kind),
    ]
