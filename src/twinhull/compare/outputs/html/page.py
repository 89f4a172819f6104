"""The report: every section that the document has, and for every other one the reason why it is not there.

Promise: one file; a policy in it forbids every request and every script, and allows only this style sheet.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex

from twinhull.compare.outputs import document, quantities
from twinhull.compare.outputs.html import charts, density, stacks, tables
from twinhull.compare.outputs.html.charts import Strip
from twinhull.compare.outputs.html.element import data, element, render, style
from twinhull.compare.outputs.method import method, wall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twinhull.compare.outputs.document import Document
    from twinhull.compare.outputs.html.element import Element, Node

STYLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "style.css")
CHOICES = {
    "container": "Container",
    "vm": "Virtual machine",
    "machine": "Machine",
    "stop": "Stop: nothing here is safe",
}
UNITS = {"s": "Times", "B": "Sizes"}


def page(result: Document) -> str:
    """The whole file."""
    with open(STYLE, encoding="utf-8") as file:
        css = file.read()
    reference = result["image"]["reference"]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(css)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{reference}: VM or container?"),
        style(css),
    )
    drawn = [(title, build(result)) for title, build in SECTIONS]
    body = element(
        "body",
        element("header", element("p", "twinhull compare", class_="kicker"), element("h1", reference), summary(result)),
        contents([title for title, content in drawn if content is not None]),
        element("main", [section(title, content) for title, content in drawn if content is not None]),
        data("document", dict(result)),
    )
    return f"<!DOCTYPE html>\n{render(element('html', head, body, lang='en'))}\n"


def policy(css: str) -> str:
    """What the page may do: apply this very style sheet."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def identity(title: str) -> str:
    """The name of a section in links."""
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def contents(titles: Iterable[str]) -> Element:
    """Links to the sections."""
    links = [element("li", element("a", title, href=f"#{identity(title)}")) for title in titles]
    return element("nav", element("ul", links), aria_label="Sections")


def section(title: str, content: list[Node]) -> Element:
    """A section with its heading."""
    name = identity(title)
    heading = element("h2", title, id=f"{name}-heading")
    return element("section", heading, content, id=name, aria_labelledby=f"{name}-heading")


def gap(result: Document, *names: str) -> list[Node]:
    """Says that a section was not measured, and why."""
    return [element("p", f"Not measured: {document.reason(result, *names)}.", class_="gap")]


def summary(result: Document) -> list[Node]:
    """The verdict, and who promises the wall."""
    advice = result["recommendation"]
    accelerator = result["host"]["accelerator"]
    reasons = element("p", f"{', and '.join(advice['reasons'])}.", class_="because")
    verdict = (element("p", CHOICES[advice["choice"]], class_="choice"), reasons)
    kind = "promised" if accelerator == "kvm" else "missing"
    title = "The wall: promised by KVM" if accelerator == "kvm" else "No wall around the VM here"
    warning = element("p", element("strong", title), element("span", wall(result)), class_=f"wall {kind}")
    other = [element("p", sentence, class_="wall limit") for sentence in result["limits"]]
    return [element("div", verdict, class_=f"verdict {advice['choice']}"), warning, *other]


def table(result: Document) -> list[Node]:
    """The table of the terminal."""
    legend = (
        "[95 % interval of the median], (range of fewer than six values). A claim is judged by the figures of its line."
    )
    return [tables.comparison(result), element("p", legend, class_="note")]


def asked(result: Document) -> list[Node] | None:
    """What --fail-if asked; None where nothing was."""
    found = result.get("conditions")
    return [tables.judged(found)] if found else None


def changed(result: Document) -> list[Node] | None:
    """What --compare-with found; None where nothing was asked."""
    found = result.get("changes")
    if not found:
        return None
    said = [f"Against {found['with']}. A change must be larger than the noise of both runs, {found['noise']:.1%}."]
    titles = document.subjects(result)
    return [*(element("p", sentence) for sentence in (*said, *found["notes"])), *tables.changed(found, titles)]


def stack(result: Document) -> list[Node]:
    """What lies under each workload."""
    found = {name: layers for name, layers in result.get("stacks", {}).items() if layers}
    if not found:
        return gap(result, "stacks")
    note = "Read from what ran. Layers marked as shared serve every workload of this machine."
    return [stacks.drawing(found, tables.SIDES), element("p", note, class_="note")]


def startup(result: Document) -> list[Node]:
    """Where the time goes, and how it is spread."""
    titles, found = (
        document.subjects(result),
        {name: parts for name, parts in result.get("phases", {}).items() if parts},
    )
    parts: list[Node] = (
        [
            tables.scrolling("Start, phase by phase", charts.waterfall("waterfall", found, titles)),
            element("details", element("summary", "The same in figures"), tables.phases(found, titles)),
        ]
        if found
        else [element("h3", "Phases"), *gap(result, "phases")]
    )
    return [*parts, *distributions(result, "s")]


def strips(result: Document, unit: str) -> dict[str, list[Strip]]:
    """Title of a quantity -> its subjects in their order, for one unit."""
    titles = document.subjects(result)
    order = {subject: index for index, subject in enumerate(titles)}
    groups: dict[str, list[Strip]] = {}
    for key in sorted(result["samples"], key=lambda key: order.get(key.partition(".")[0], len(order))):
        (subject, quantity), values = quantities.split(key), result["samples"][key]
        found = None if quantity.unit != unit or quantities.is_part(key) else document.summary(result, key)
        if found and any(value > 0 for value in values):
            strip = Strip(subject, titles.get(subject, subject), values, found)
            groups.setdefault(quantity.title, []).append(strip)
    known = {quantity.title: index for index, quantity in enumerate(quantities.QUANTITIES)}
    return dict(sorted(groups.items(), key=lambda group: known.get(group[0], len(known))))


def distributions(result: Document, unit: str) -> list[Node]:
    """Every raw sample of one unit on a log axis."""
    groups = strips(result, unit)
    if not groups:
        return [element("h3", f"{UNITS[unit]}, every sample"), *gap(result, "samples")]
    title = f"{UNITS[unit]}, every sample, on a logarithmic axis"
    drawn = charts.distributions(f"spread-{identity(UNITS[unit])}", groups, unit, title)
    note = "A dot is a sample, the bar the 95 % interval of the median (from six samples on), the line the median."
    return [element("h3", title), tables.scrolling(title, drawn), element("p", note, class_="note")]


def resources(result: Document) -> list[Node]:
    """Memory and disk of one more instance."""
    return distributions(result, "B")


def isolation(result: Document) -> list[Node]:
    """What was tried from inside."""
    found = result.get("probes")
    return [tables.probes(found, document.subjects(result))] if found else gap(result, "probes")


def fits(result: Document) -> list[Node]:
    """How many fit, and what ends it."""
    found, titles = result.get("density", {}), document.subjects(result)
    parts: list[Node] = []
    for subject, one in found.items():
        title = titles.get(subject, subject)
        parts += [
            element("h3", title),
            tables.scrolling(f"Density: {title}", density.curve(f"density-{identity(subject)}", subject, title, one)),
            tables.limits(one, title),
        ]
    return parts or gap(result, "density")


def load(result: Document) -> list[Node]:
    """Ratios under load."""
    found, titles = result.get("load", []), document.subjects(result)
    if not found:
        return gap(result, "load")
    drawn = any(values.get("ratio") for item in found for values in item["subjects"].values())
    chart = [tables.scrolling("Ratios under load", charts.ratios("ratios", found, titles))] if drawn else []
    return [*chart, tables.load(found, titles)]


def portability(result: Document) -> list[Node]:
    """What it takes to move the image, and what only one side can do."""
    found, one_sided = result.get("portability"), result.get("only")
    return [
        *([tables.facts(found)] if found else gap(result, "portability")),
        element("h3", "What only one side can do"),
        *([tables.only(one_sided, document.subjects(result))] if one_sided else gap(result, "only")),
    ]


def rules(result: Document) -> list[Node]:
    """Why this is recommended, and what would change it."""
    advice = result["recommendation"]
    fired = [
        element("li", element("strong", name), element("span", reason))
        for name, reason in zip(advice["rules"], advice["reasons"], strict=False)
    ]
    turns = [element("li", sentence) for sentence in advice["would_change"]] or [element("li", "nothing that is known")]
    return [element("ol", fired, class_="rules"), element("h3", "What would change it"), element("ul", turns)]


def missing(result: Document) -> list[Node]:
    """Every gap with its reason, and every run that failed."""
    found = document.missing(result["gaps"])
    found += [(f"{name}, {len(reasons)} failed", reasons[-1]) for name, reasons in result["failures"].items()]
    found += [(f"{one['name']} under load", one["gap"]) for one in result.get("load", ()) if one.get("gap")]
    if not found:
        return [element("p", "Nothing is missing.")]
    return [tables.table("Gaps", ("What", "Why"), found)]


def figures(result: Document) -> list[Node]:
    """All figures and ratios."""
    parts: list[Node] = [tables.statistics(result)]
    return [*parts, tables.comparisons(result)] if result.get("comparisons") else parts


def methods(result: Document) -> list[Node]:
    """How it was measured, and the command that does it again."""
    command = element("pre", element("code", shlex.join(document.command(result))), tabindex=0)
    where = element("code", '<script id="document">')
    note = element("p", "Every raw sample is in this file, as JSON in ", where, ".", class_="note")
    return [tables.definitions(method(result)), element("h3", "Measure it again"), command, note]


SECTIONS: tuple[tuple[str, Callable[[Document], list[Node] | None]], ...] = (
    ("Conditions", asked),
    ("Changes", changed),
    ("Comparison", table),
    ("Stacks", stack),
    ("Startup", startup),
    ("Isolation", isolation),
    ("Resources", resources),
    ("Density", fits),
    ("Load", load),
    ("Portability", portability),
    ("Recommendation", rules),
    ("Gaps", missing),
    ("Figures", figures),
    ("Method", methods),
)
