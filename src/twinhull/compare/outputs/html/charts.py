"""Charts as inline SVG: distributions, start waterfall, load ratios.

Promise: each has a title and a description in words; no information is in a colour only, and every number of a chart
is also in a table or a label.
"""

from __future__ import annotations

import math

from twinhull.compare import figures, statistics
from twinhull.compare.outputs import quantities
from twinhull.compare.outputs.html.axis import LogAxis, log_axis
from twinhull.compare.outputs.html.element import element
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from twinhull.compare.outputs.html.element import Element, Node
    from twinhull.compare.statistics import Summary

WIDTH = 760
LABEL, VALUE = 208, 168  # pixels for the names at the left and the figures at the right
LABEL_LETTERS = 26
ROW, HEADING, AXIS, DOT = 30, 26, 30, 3
PHASE_COLOURS = 8  # --p0 to --p7 of the style sheet
KNOWN = ("vm", "vm_template", "vm_cold", "container", "machine")


class Strip(NamedTuple):
    """One row of a chart of distributions."""

    subject: str
    title: str
    values: Sequence[float]
    summary: Summary


def svg(identity: str, height: float, title: str, description: str, *children: Node | Iterable[Node]) -> Element:
    """A drawing that screen readers announce by its title and description."""
    return element(
        "svg",
        element("title", title, id=f"{identity}-title"),
        element("desc", description, id=f"{identity}-desc"),
        *children,
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        width=WIDTH,
        height=float(height),
        role="img",
        aria_labelledby=f"{identity}-title {identity}-desc",
    )


def colour(subject: str) -> str:
    """The class that colours a subject; references share one."""
    return f"of-{subject.replace('_', '-')}" if subject in KNOWN else "of-reference"


def text(x: float, y: float, content: str, *, anchor: str = "start", kind: str = "") -> Element:
    """One line of text."""
    return element("text", content, x=float(x), y=float(y), text_anchor=anchor, class_=kind or None)


def label(x: float, y: float, title: str) -> Element:
    """The name of a row, cut where the plot begins; pointing at it shows the whole."""
    cut = title if len(title) <= LABEL_LETTERS else f"{title[: LABEL_LETTERS - 1].rstrip()}…"
    return element("text", cut, element("title", title), x=float(x), y=float(y), class_="label")


def line(x: float, y: float, to_x: float, to_y: float, kind: str) -> Element:
    """A straight line."""
    return element("line", x1=float(x), y1=float(y), x2=float(to_x), y2=float(to_y), class_=kind)


def rectangle(x: float, y: float, width: float, height: float, kind: str, *children: Node) -> Element:
    """A box, at least a visible sliver."""
    size = {"width": max(float(width), 1.5), "height": float(height)}
    return element("rect", *children, x=float(x), y=float(y), rx=2, class_=kind, **size)


def grid(axis: LogAxis, top: float, bottom: float, written: Callable[[float], str]) -> list[Element]:
    """Vertical lines at the ticks, and their labels under them."""
    drawn = []
    for tick in axis.ticks():
        x = axis.place(tick)
        drawn += [line(x, top, x, bottom, "grid"), text(x, bottom + 16, written(tick), anchor="middle", kind="tick")]
    return drawn


def tick_label(value: float, unit: str) -> str:
    """A round value with its unit: 20 ms."""
    factor, name = figures.scale(value, unit)
    return f"{value / factor:g} {name}".rstrip()


def distributions(identity: str, groups: Mapping[str, Sequence[Strip]], unit: str, title: str) -> Element:
    """Every raw sample as a dot, the interval of the median as a bar and the median as a line, on a log axis."""
    values = [value for strips in groups.values() for strip in strips for value in strip.values]
    axis = log_axis(values, LABEL, WIDTH - VALUE)
    drawn: list[Element] = []
    y = 0.0
    for heading, strips in groups.items():
        drawn.append(text(0, y + 18, heading, kind="heading"))
        y += HEADING
        for strip in strips:
            drawn += draw_strip(strip, axis, y, unit)
            y += ROW
    lines = grid(axis, HEADING, y, lambda tick: tick_label(tick, unit))
    description = "; ".join(
        f"{heading}, {strip.title}: {figures.spread(strip.summary, unit)}"
        for heading, strips in groups.items()
        for strip in strips
    )
    return svg(identity, y + AXIS, title, description, lines, drawn)


def draw_strip(strip: Strip, axis: LogAxis, y: float, unit: str) -> list[Element]:
    """Name, samples, interval, median and figure of one subject."""
    kind, middle, summary = colour(strip.subject), y + ROW / 2, strip.summary
    low, high, median = (axis.place(value) for value in (summary.low, summary.high, summary.median))
    dots = [
        element("circle", cx=axis.place(value), cy=middle + jitter(index), r=DOT, class_=f"dot {kind}")
        for index, value in enumerate(strip.values)
        if value > 0
    ]
    return [
        label(12, middle + 4, strip.title),
        *([rectangle(low, middle - 8, high - low, 16, f"interval {kind}")] if summary.bounds == "interval" else []),
        *dots,
        line(median, middle - 10, median, middle + 10, f"median {kind}"),
        text(WIDTH, middle + 4, figures.spread(summary, unit), anchor="end", kind="value"),
    ]


def jitter(index: int) -> float:
    """How far from the middle a dot stands, so that equal values do not hide each other: by the golden ratio."""
    return ((index * 0.618034) % 1 - 0.5) * 12


def waterfall(identity: str, phases: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]) -> Element:
    """The parts of each subject's start, one after the other from the same beginning."""
    seen = {phase["name"] for parts in phases.values() for phase in parts}
    names = [*(name for name in quantities.PHASES if name in seen), *sorted(seen - set(quantities.PHASES))]
    longest = max((sum(phase["median_s"] for phase in parts) for parts in phases.values()), default=1.0) or 1.0
    scale = (WIDTH - LABEL - 90) / longest
    drawn: list[Element] = []
    for index, (subject, parts) in enumerate(phases.items()):
        drawn += draw_phases(parts, names, index * ROW, scale, titles.get(subject, subject))
    drawn += legend(names, len(phases) * ROW + 8)
    height = len(phases) * ROW + HEADING + 8
    described = "; ".join(
        f"{titles.get(subject, subject)}: "
        + ", ".join(f"{phase['name']} {figures.quantity(phase['median_s'], 's')}" for phase in parts)
        for subject, parts in phases.items()
    )
    return svg(identity, height, "Where the time of a start goes", described, drawn)


def legend(names: Sequence[str], y: float) -> list[Element]:
    """The colours of the phases, in the order in which they come."""
    drawn, x = [], 0.0
    for number, name in enumerate(names):
        drawn += [rectangle(x, y, 14, 14, f"phase-{number % PHASE_COLOURS}"), text(x + 20, y + 12, name, kind="tick")]
        x += 20 + 7.5 * len(name) + 20
    return drawn


def draw_phases(
    parts: Sequence[Mapping[str, Any]], names: Sequence[str], y: float, scale: float, title: str
) -> list[Element]:
    """One row of the waterfall, with its sum behind it; a part is named where its name has room."""
    drawn, x = [label(0, y + ROW / 2 + 4, title)], float(LABEL)
    for phase in parts:
        width, number = phase["median_s"] * scale, names.index(phase["name"]) % PHASE_COLOURS
        told = f"{phase['name']}: {figures.quantity(phase['median_s'], 's')}, {phase['share']:.0%}"
        drawn.append(rectangle(x, y + 4, width - 1, ROW - 8, f"phase-{number}", element("title", told)))
        if width > 8 * len(phase["name"]) + 8:
            drawn.append(text(x + 6, y + ROW / 2 + 4, phase["name"], kind="in-phase"))
        x += width
    total = sum(phase["median_s"] for phase in parts)
    return [*drawn, text(x + 8, y + ROW / 2 + 4, figures.quantity(total, "s"), kind="value")]


def ratios(identity: str, load: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Element:
    """Throughput or latency as a ratio to the plain process: a point with its interval, and a line at 1."""
    rows = [
        (item, subject, values)
        for item in load
        for subject, values in item["subjects"].items()
        if values.get("ratio") and subject != "plain"
    ]
    ends = [
        values.get(name) or values["ratio"] for _, _, values in rows for name in ("ratio_low", "ratio", "ratio_high")
    ]
    axis = log_axis([*ends, 1.0], LABEL, WIDTH - VALUE)
    drawn: list[Element] = []
    y, last = 0.0, ""
    for item, subject, values in rows:
        if item["name"] != last:
            better = "higher is better" if item["higher_is_better"] else "lower is better"
            name = item.get("title") or item["name"]
            drawn.append(text(0, y + 18, f"{name} ({better})", kind="heading"))
            last, y = item["name"], y + HEADING
        drawn += draw_ratio(values, subject, titles.get(subject, subject), axis, y)
        y += ROW
    one = axis.place(1.0)
    lines = [*grid(axis, HEADING, y, lambda tick: f"{tick:g}x"), line(one, HEADING, one, y, "one")]
    described = "; ".join(f"{item['name']}, {subject}: {values['ratio']:.2f}x" for item, subject, values in rows)
    return svg(identity, y + AXIS, "Under load, as a ratio to a plain process on the host", described, lines, drawn)


def draw_ratio(values: Mapping[str, Any], subject: str, title: str, axis: LogAxis, y: float) -> list[Element]:
    """One subject's ratio with its interval."""
    middle, kind = y + ROW / 2, colour(subject)
    low, high = (values.get(name) or values["ratio"] for name in ("ratio_low", "ratio_high"))
    ratio = statistics.Ratio(values["ratio"], low, high, True, 0.0, values.get("ratio_bounds", "interval"))
    return [
        label(12, middle + 4, title),
        line(axis.place(low), middle, axis.place(high), middle, f"whisker {kind}"),
        element("circle", cx=axis.place(values["ratio"]), cy=middle, r=5, class_=f"point {kind}"),
        text(WIDTH, middle + 4, figures.times(ratio), anchor="end", kind="value"),
    ]


def decades(value: float) -> float:
    """The next power of ten at or above a value."""
    return 10.0 ** math.ceil(math.log10(max(value, 1.0)))
