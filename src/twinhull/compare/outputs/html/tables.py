"""Tables of the report: the comparison itself, figures, probes, and facts of any form."""

from __future__ import annotations

from twinhull.compare import density, figures
from twinhull.compare.outputs import changes, conditions, document, quantities
from twinhull.compare.outputs.html.element import element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from twinhull.compare.outputs.document import Document, TableLine
    from twinhull.compare.outputs.html.element import Element, Node

SIDES = {"vm": "Virtual machine", "container": "Container", "machine": "Machine"}
RATIO = "VM ÷ container"
ENDS = "[95 % interval] or (range)"
MAX_DEPTH = 6  # of facts in facts; a file of --from may have any
SIZE_NAMES = ("_bytes", "_s")


def scrolling(label: str, content: Node) -> Element:
    """A box that scrolls by itself where its content is wider than the page; the keyboard reaches it."""
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def table(label: str, head: Iterable[str], rows: Iterable[Sequence[Node]], kind: str = "") -> Element:
    """A table whose first column names its rows. A cell that is an element stays as it is."""
    titles = element("tr", [element("th", title, scope="col") for title in head])
    body = [element("tr", element("th", row[0], scope="row"), [cell(value) for value in row[1:]]) for row in rows]
    made = element("table", element("caption", label), element("thead", titles), element("tbody", body), class_=kind)
    return scrolling(label, made)


def cell(value: Node) -> Node:
    """A cell of a table."""
    return value if not isinstance(value, str) and value.tag == "td" else element("td", value)


def number(value: str) -> Element:
    """A cell with a figure."""
    return element("td", value, class_="number")


def badge(word: str, kind: str) -> Element:
    """A word that stands out; colour is never all that tells it from another."""
    return element("span", word, class_=f"badge {kind.replace(' ', '-')}")


def comparison(result: Document) -> Element:
    """The table as it is printed in the terminal."""
    sides = document.sides(result)
    head = element(
        "tr",
        element("th", element("span", "Topic", class_="hidden"), scope="col"),
        [element("th", SIDES[side], scope="col", class_=f"side {side}") for side in sides],
        element("th", RATIO, scope="col"),
        element("th", "Claim", scope="col"),
    )
    bodies = [element("tbody", comparison_rows(row, sides)) for row in result["rows"]]
    label = "Virtual machine and container, row by row"
    made = element("table", element("caption", label), element("thead", head), bodies, class_="comparison")
    return scrolling(label, made)


def comparison_rows(row: Mapping[str, Any], sides: Sequence[str]) -> list[Element]:
    """One topic: its name beside all its lines, and what stands below them."""
    lines, notes = document.table_lines(row), row.get("notes", [])
    topic = element("th", row["topic"], scope="rowgroup", rowspan=len(lines) + len(notes))
    below = [element("tr", element("td", note, colspan=len(sides) + 2, class_="note")) for note in notes]
    shown = [
        element(
            "tr",
            topic if index == 0 else "",
            [element("td", line.cells[side], data_label=SIDES[side]) for side in sides],
            element("td", line.ratio, class_="number", data_label=RATIO),
            element("td", verdict(line), data_label="Claim"),
        )
        for index, line in enumerate(lines)
    ]
    return [*shown, *below]


def verdict(line: TableLine) -> Node:
    """A claim with what became of it."""
    return element("span", badge(line.holds, line.holds), f" {line.claim}") if line.claim else ""


def statistics(result: Document) -> Element:
    """Every quantity with its figures."""
    titles = document.subjects(result)
    rows: list[tuple[Node, ...]] = []
    for key in sorted(result["samples"], key=lambda key: quantities.split(key)[1].title):
        summary = document.summary(result, key)
        if summary is None or quantities.is_part(key):
            continue
        subject, quantity = quantities.split(key)
        amounts = (figures.quantity(value, quantity.unit) for value in (summary.median, summary.p95))
        cells = (*amounts, ends(summary.low, summary.high, quantity.unit, summary.bounds), str(summary.size))
        rows.append((f"{titles.get(subject, subject)}: {quantity.title}", *map(number, cells)))
    return table("Figures", ("Quantity", "Median", "p95", ENDS, "Samples"), rows)


def ends(low: float, high: float, unit: str, bounds: str) -> str:
    """The interval of a median, or the range of few values."""
    return figures.ends(figures.quantity(low, unit), figures.quantity(high, unit), bounds)


def comparisons(result: Document) -> Element:
    """Every ratio with its test."""
    rows: list[tuple[Node, ...]] = []
    for one in result["comparisons"]:
        quantity = quantities.BY_KEY.get(one["quantity"]) or quantities.unknown(one["quantity"])
        few = one["resolution"] is None
        shown = "a difference" if one["shown"] else "too few samples" if few else missed(one["resolution"])
        reach = figures.ends(figures.factor(one["low"]), figures.factor(one["high"]), one.get("bounds", "interval"))
        ratio = f"{figures.factor(one['ratio'])}x {reach}"
        tested = [f"{one[name]:.2g}" if one.get(name) is not None else "–" for name in ("p", "effect")]
        rows.append((f"{quantity.title}: {one['first']} ÷ {one['second']}", number(ratio), shown, *map(number, tested)))
    head = ("Quantity", "Ratio", "Shown", "Mann-Whitney p", "Effect size")
    return table("Ratios", head, rows)


def missed(resolution: float) -> str:
    """No difference, and how large it would have had to be."""
    return f"no difference shown (from {resolution:.0%})"


def phases(found: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]) -> Element:
    """The parts of a start in figures."""
    rows = [
        (
            f"{titles.get(subject, subject)}: {phase['name']}",
            number(figures.quantity(phase["median_s"], "s")),
            number(ends(phase["low"], phase["high"], "s", phase.get("bounds", "interval"))),
            number(f"{phase['share']:.0%}"),
        )
        for subject, parts in found.items()
        for phase in parts
    ]
    return table("Parts of a start", ("Part", "Median", ENDS, "Share"), rows)


def probes(found: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Element:
    """What was tried from inside, and what came of it on each side."""
    named = dict.fromkeys(side for probe in found for side in probe["outcomes"])
    sides = sorted(named, key=lambda side: [*SIDES, side].index(side))  # the note's order; what is beside it comes last
    rows: list[tuple[Node, ...]] = []
    for probe in found:
        source = element("small", probe["source"], class_="source") if probe.get("source") else ""
        what = element("span", element("span", probe["title"]), element("small", probe["what"]), source, class_="probe")
        rows.append((what, *(outcome(probe["outcomes"].get(side)) for side in sides)))
    return table("Probes", ("Tried from inside", *(titles.get(side, side) for side in sides)), rows, "probes")


def outcome(found: Mapping[str, Any] | None) -> Element:
    """One side's outcome of a probe."""
    if found is None:
        return element("td", badge("not tried", "not tried"))
    detail = found.get("detail", "")
    return element("td", badge(found["result"], found["result"]), element("small", detail) if detail else "")


def limits(found: Mapping[str, Any], title: str) -> Element:
    """The limits of one subject, the one that binds first at the top."""
    ordered = sorted(found["limits"], key=lambda limit: limit["count"])
    rows = [
        (
            limit["name"],
            number(density.count(limit, found.get("bounds", "interval"))),
            binding(limit["name"], found),
            limit["basis"],
        )
        for limit in ordered
    ]
    return table(f"Limits: {title}", ("Limit", "Instances", "", "By"), rows)


def binding(name: str, found: Mapping[str, Any]) -> Node:
    """Whether a limit is the first, or may be."""
    rivals = found.get("may_bind", [])
    if name == found["binds"]:
        return badge("may bind first" if rivals else "binds first", "binds")
    return badge("may bind first", "binds") if name in rivals else ""


def load(found: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Element:
    """What the tools said, in their units."""
    rows: list[tuple[Node, ...]] = []
    for item in found:
        if item.get("gap"):
            rows.append((load_title(item), item["gap"], "", ""))
        for subject, values in item["subjects"].items():
            reach = figures.ends(f"{values['low']:,.4g}", f"{values['high']:,.4g}", values.get("bounds", "interval"))
            figure = f"{values['median']:,.4g} {reach} {item['unit']}"
            name = f"{load_title(item)}: {titles.get(subject, subject)}"
            rows.append((name, number(figure), item["tool"], ratio(values)))
    return table("Under load", ("Work", "Median", "Tool", "To a plain process"), rows)


def load_title(item: Mapping[str, Any]) -> str:
    """What a load is called for people."""
    return str(item.get("title") or item["name"])


def ratio(values: Mapping[str, Any]) -> Element:
    """A ratio with its interval where it has one."""
    if not values.get("ratio"):
        return number("")
    low, high = (values.get(name) for name in ("ratio_low", "ratio_high"))
    known = low is not None and high is not None
    reach = figures.ends(f"{low:.2f}", f"{high:.2f}", values.get("ratio_bounds", "interval")) if known else ""
    return number(f"{values['ratio']:.2f}x {reach}".rstrip())


def only(found: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Element:
    """What one side alone is said to do, tried on every side, and what was seen there."""
    sides = list(dict.fromkeys(side for one in found for side in one.get("outcomes", ())))
    rows = []
    for one in found:
        what = element("span", one["what"], element("small", one["why"]), class_="probe")
        tried = one["tried"] if isinstance(one["tried"], str) else facts(one["tried"])
        works = one["works"] if isinstance(one["works"], str) else facts(one["works"])
        seen = [attempt(one.get("outcomes", {}).get(side)) for side in sides]
        rows.append((what, SIDES.get(one["side"], one["side"]), tried, *seen, works))
    head = ("What", "Said of", "Tried", *(titles.get(side, side) for side in sides), "Only there")
    return table("What only one side can do", head, rows)


def attempt(found: Mapping[str, Any] | None) -> Element:
    """One side's attempt at something; to be able to do it is no danger, so it has no colour."""
    if found is None:
        return element("td", badge("not tried", "not tried"))
    return element("td", badge("works" if found["works"] else "does not", "plain"), element("small", found["seen"]))


def changed(found: Mapping[str, Any], titles: Mapping[str, str]) -> list[Node]:
    """Quantities that changed, and below them, folded, those of which no change was shown."""
    sure = [one for one in found["quantities"] if one["verdict"] in ("more", "less")]
    other = [one for one in found["quantities"] if one not in sure]
    head = ("Quantity", "Before", "Now", "Difference", "Verdict")
    shown = table("Changed", head, [change(one, titles) for one in sure]) if sure else element("p", "Nothing changed.")
    if not other:
        return [shown]
    rest = table("No change shown", head, [change(one, titles) for one in other])
    return [shown, element("details", element("summary", f"{len(other)} without a change that was shown"), rest)]


def change(one: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[Node, ...]:
    """One quantity then and now."""
    subject, quantity = quantities.split(one["name"])
    values = [figures.quantity(one[name], one["unit"]) if one[name] is not None else "" for name in ("before", "after")]
    by = [changes.percent(one[name]) for name in ("ratio", "low", "high") if one[name] is not None]
    difference = f"{by[0]} {figures.ends(by[1], by[2], one.get('bounds', 'interval'))}" if len(by) == 3 else ""
    name = f"{titles.get(subject, subject)}: {quantity.title}"
    return (name, *map(number, (*values, difference)), badge(one["verdict"], one["verdict"]))


def judged(found: Sequence[Mapping[str, Any]]) -> Element:
    """What --fail-if asked."""
    rows = [
        (
            element("code", one["expression"]),
            badge(one["outcome"], one["outcome"]),
            number(conditions.figure(dict(one))) if one["value"] is not None else one["reason"],
        )
        for one in found
    ]
    return table("Conditions", ("Condition", "Outcome", "Figure"), rows)


def definitions(items: Iterable[tuple[str, Node]]) -> Element:
    """Names with what they stand for."""
    pairs = ((element("dt", name), element("dd", what)) for name, what in items)
    return element("dl", [part for pair in pairs for part in pair], class_="facts")


def facts(value: Any, name: str = "", depth: int = 0) -> Node:
    """Whatever was found out, by its form: names with values, lists, and sizes and times by the end of their names."""
    if depth > MAX_DEPTH:
        return "… (in the raw data)"
    if isinstance(value, dict):
        units = {key: key if key.endswith(SIZE_NAMES) else name for key in value}  # first_start_s: {vm: 1.9}
        return definitions((key.replace("_", " "), facts(inner, units[key], depth + 1)) for key, inner in value.items())
    if isinstance(value, list):
        return element("ul", [element("li", facts(inner, name, depth + 1)) for inner in value]) if value else "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not known"}[value]
    if isinstance(value, int | float) and name.endswith(SIZE_NAMES):
        return figures.quantity(value, "B" if name.endswith("_bytes") else "s")
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
