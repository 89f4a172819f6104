"""The stacks under the running workloads, side by side: layers that all share are drawn once, under all of them."""

from __future__ import annotations

from twinhull.compare.outputs.html.charts import colour
from twinhull.compare.outputs.html.element import element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.compare.outputs.html.element import Element

    Layers = Sequence[Mapping[str, Any]]


def drawing(stacks: Mapping[str, Layers], titles: Mapping[str, str]) -> Element:
    """Columns of layers, the program on top, on the foundation that they have in common."""
    depth = foundation(list(stacks.values()))
    columns = [
        element(
            "li",
            element("h3", titles.get(subject, subject), class_=colour(subject)),
            element("ol", [box(layer) for layer in reversed(layers[depth:])]),
        )
        for subject, layers in stacks.items()
    ]
    lowest = next(iter(stacks.values()))[:depth]
    under = element("ol", [box(layer) for layer in reversed(lowest)], class_="foundation") if lowest else ""
    return element("div", element("ul", columns, class_="columns"), under, class_="stacks")


def foundation(stacks: Sequence[Layers]) -> int:
    """How many of the lowest layers are shared, and the same in every stack. One stack has none in common."""
    depth = 0
    while len(stacks) > 1 and all(depth < len(layers) for layers in stacks):
        layers = [stack[depth] for stack in stacks]
        same = {(layer["layer"], layer["name"], layer["version"]) for layer in layers}
        if len(same) > 1 or not all(layer["shared"] for layer in layers):
            break
        depth += 1
    return depth


def box(layer: Mapping[str, Any]) -> Element:
    """One layer; a shared one says so in a word too."""
    shared = element("span", "shared", class_="badge shared") if layer["shared"] else ""
    version = element("small", layer["version"]) if layer["version"] else ""
    name = element("span", layer["name"], class_="name")
    kind = "layer shared" if layer["shared"] else "layer"
    return element("li", element("span", layer["layer"], class_="level"), name, version, shared, class_=kind)
