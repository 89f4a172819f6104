"""The comparison as Markdown that GitHub renders: table with verdicts, recommendation, gaps, method.

Promise: nothing of a name or of a guest's output is taken for Markdown or HTML.
"""

from __future__ import annotations

import re
import shlex

from twinhull.compare.outputs import changes, conditions, document
from twinhull.compare.outputs.method import method, wall
from twinhull.compare.outputs.printable import printable
from twinhull.compare.report import MARKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from twinhull.compare.outputs.document import Document

# What means something in the middle of a line, and what does at its beginning (CommonMark 0.31, 2.4 and 4, 5).
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&$])")
LEADING = re.compile(r"^(\s*)([-+#=]|\d+[.)])")
# Mentions and links cannot be escaped on GitHub: an empty comment parts the sign from the word behind it.
LINKING = re.compile(r"(@|://|www\.)(?=\S)")
TITLES = {"vm": "Virtual machine", "container": "Container", "machine": "Machine"}


def escaped(text: str) -> str:
    """Text that shows as itself."""
    inert = SPECIAL.sub(r"\\\1", printable(text))
    leading = LEADING.match(inert)
    if leading:
        place = leading.end() - 1
        inert = f"{inert[:place]}\\{inert[place:]}"
    return LINKING.sub(r"\1<!-- -->", inert)


def code(words: Sequence[str]) -> str:
    """A command as a code block that no content can end."""
    text = printable(shlex.join(words))
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def render(result: Document) -> str:
    """The whole page; parts are divided by empty lines."""
    choice = result["recommendation"]
    parts = [
        f"# twinhull compare {escaped(result['image']['reference'])}",
        *(f"> {escaped(sentence)}" for sentence in (wall(result), *result["limits"])),
        "\n".join(table(result)),
        *map(escaped, document.notes(result)),
        "`=` holds, `~` in part, `x` not here, `?` not measured, or too few samples",
        "\\[95 % interval of the median\\], (range of fewer than 6 values)",
        f"**{escaped(choice['choice'].upper())}**: {escaped(', and '.join(choice['reasons']))}.",
    ]
    if choice["would_change"]:
        parts.append(f"Would change it: {escaped('; '.join(choice['would_change']))}.")
    parts += [*section("Conditions", condition_lines(result)), *section("Changes", change_lines(result))]
    parts += [*section("Not measured", gap_lines(result)), *section("Method", method_lines(result))]
    return "\n\n".join([*parts, code(document.command(result))]) + "\n"


def section(title: str, lines: Iterable[str]) -> list[str]:
    """A heading with its list; nothing without lines."""
    listed = [f"- {line}" for line in lines]
    return [f"## {title}", "\n".join(listed)] if listed else []


def table(result: Document) -> Iterator[str]:
    """The table, line by line."""
    sides = document.sides(result)
    titles = ("", *(TITLES[side] for side in sides), "VM ÷ container", "Claim")
    yield row(titles)
    yield row(["---"] * len(titles))
    for line in document.table(result):
        topic = f"**{escaped(line.topic)}**" if line.topic else ""
        mark = f"`{MARKS[line.holds]}` " if line.holds else ""
        cells = [escaped(text) for text in (*(line.cells[side] for side in sides), line.ratio)]
        yield row((topic, *cells, f"{mark}{escaped(line.claim)}"))


def row(cells: Sequence[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def condition_lines(result: Document) -> Iterator[str]:
    """What --fail-if asked."""
    for judged in result.get("conditions", ()):
        yield escaped(conditions.describe(judged))


def change_lines(result: Document) -> Iterator[str]:
    """What --compare-with found."""
    if found := result.get("changes"):
        yield from map(escaped, changes.lines(found))


def gap_lines(result: Document) -> Iterator[str]:
    """What is missing, and why; runs that failed."""
    for what, why in document.missing(result["gaps"]):
        yield f"{escaped(what)}: {escaped(why)}"
    for name, reasons in result["failures"].items():
        yield f"{len(reasons)} starts of {escaped(name)} failed: {escaped(reasons[-1])}"


def method_lines(result: Document) -> Iterator[str]:
    """How it was measured, and where."""
    yield from (f"{escaped(name)}: {escaped(text)}" for name, text in method(result))
