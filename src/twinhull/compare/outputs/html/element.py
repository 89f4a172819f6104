"""Elements of HTML and SVG, and the one place where they become text.

Why no template engine: here every string is a text node or an attribute's value and is escaped when it is written; a
type checker sees the whole page, and there is no way to forget it. docs/decisions/report.md.

Promise: a string reaches the page as the characters that it holds, never as markup; what cannot be seen is shown as
its escape.
"""

from __future__ import annotations

import html
import json

from twinhull.compare.outputs.printable import printable
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

VOID = {"meta", "br", "hr"}
# Characters with which a data block could end its element, and the two that end a line in JavaScript but not in JSON.
UNSAFE_IN_SCRIPT = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


class Element(NamedTuple):
    """One element; children are elements or text. `raw` is for the two kinds whose text is not parsed."""

    tag: str
    attributes: Mapping[str, str]
    children: tuple[Element | str, ...]
    raw: str = ""


Node = Element | str
Attribute = str | float | bool | None


def element(tag: str, *children: Node | Iterable[Node], **attributes: Attribute) -> Element:
    """Make an element: element("td", "5 ms", class_="number").

    Attributes are keywords, as in the markup: a trailing _ is dropped, other _ become -. None and False leave one out.
    """
    named = {
        name.rstrip("_").replace("_", "-"): written(value)
        for name, value in attributes.items()
        if value is not None and value is not False
    }
    return Element(tag, named, tuple(flat(children)))


def flat(children: Iterable[Node | Iterable[Node]]) -> Iterator[Node]:
    """Children and lists of children, in their order; empty strings are left out."""
    for child in children:
        if isinstance(child, str | Element):
            if child:
                yield child
        else:
            yield from flat(child)


def written(value: Attribute) -> str:
    """An attribute's value; coordinates have a tenth of a pixel."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return "" if value is True else str(value)


def style(text: str) -> Element:
    """A style sheet of ours."""
    return Element("style", {}, (), text)


def data(identity: str, value: Any) -> Element:
    """Data for programs: a block that browsers keep and do not run."""
    text = json.dumps(value, ensure_ascii=True).translate(UNSAFE_IN_SCRIPT)
    return Element("script", {"type": "application/json", "id": identity}, (), text)


def render(node: Node) -> str:
    """The text of a tree."""
    if isinstance(node, str):
        return html.escape(printable(node))
    attributes = "".join(f' {name}="{html.escape(printable(value))}"' for name, value in node.attributes.items())
    start = f"<{node.tag}{attributes}>"
    if node.tag in VOID:
        return start
    return f"{start}{node.raw}{''.join(map(render, node.children))}</{node.tag}>"
