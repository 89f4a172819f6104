"""What `compare` does with its result: files, formats, an earlier run to compare with, conditions that fail.

Promise: whatever can be wrong with what is asked is found before anything is measured.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

from twinhull.cli.parser import given
from twinhull.compare.outputs import changes, conditions, document, junit, markdown, samples_csv, text
from twinhull.errors import InvalidRequest
from twinhull.host import files
from twinhull.host.machine import read_machine
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.compare.outputs.conditions import Condition

FORMATS = ("text", "json", "csv", "markdown", "junit")


class Wanted(NamedTuple):
    """What is to be made of a result. Paths are "" where nothing is asked.

    Attributes:
        saved: the document of --from; None: it is still to be measured.
        old: that of --compare-with, and its path.
    """

    format: str
    output: str
    html: str
    saved: dict[str, Any] | None
    old: dict[str, Any] | None
    old_path: str
    conditions: tuple[Condition, ...]

    @property
    def live(self) -> bool:
        """The table is printed row by row while it is measured."""
        return self.format == "text" and not self.output and self.saved is None


def configure(parser: Parser) -> None:
    """Flags for what is made of the result."""
    add = parser.add_argument
    add("--format", choices=FORMATS, default="text", help="a table for people, or the result for programs")
    add("--output", type=given, default=None, metavar="FILE", help="write that to FILE instead of stdout")
    add("--html", type=given, default=None, metavar="FILE", help="also write a report that needs no network")
    add(
        "--from",
        dest="saved",
        type=given,
        default=None,
        metavar="FILE",
        help="take the result from a JSON file, measure nothing",
    )
    add(
        "--compare-with",
        type=given,
        default=None,
        metavar="FILE",
        help="say what changed since the JSON of an earlier run",
    )
    add(
        "--fail-if",
        action="append",
        default=[],
        metavar="EXPR",
        help="exit 3 if it is so, 4 if not measured (docs/compare.md)",
    )


def wanted(arguments: Arguments) -> Wanted:
    """Read what is asked.

    Raises:
        InvalidRequest: a condition, or a file, is not what it should be, or an earlier run is of another machine.
    """
    for path in filter(None, (arguments.output, arguments.html)):
        check_target(path)
    if arguments.output and arguments.html and is_same(arguments.output, arguments.html):
        raise InvalidRequest("--html and --output name the same file", hint="one file each")
    found, old = saved(arguments.saved), saved(arguments.compare_with)
    if old is not None and found is None:
        changes.refuse(list(changes.of_machine(old["host"], read_machine()._asdict())), arguments.compare_with)
    return Wanted(
        arguments.format,
        arguments.output or "",
        arguments.html or "",
        found,
        old,
        arguments.compare_with or "",
        tuple(conditions.parse(expression) for expression in arguments.fail_if),
    )


def saved(path: str | None) -> dict[str, Any] | None:
    """The document in a file, its conditions judged anew; None without a file.

    Raises:
        InvalidRequest: it cannot be read, or is none.
    """
    if not path:
        return None
    found = document.read(content(path), path)
    try:
        asked = [conditions.parse(one["expression"]) for one in found.pop("conditions", ())]
    except InvalidRequest as error:
        raise InvalidRequest(f"{path} is not what compare wrote: {error.message}", hint=error.hint) from error
    return {**found, "conditions": conditions.judge_all(asked, found)} if asked else found


def content(path: str) -> str:
    """The text of a file.

    Raises:
        InvalidRequest: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidRequest(f"cannot read {path}: {reason}", hint="write one: compare --format json") from error


def check_target(path: str) -> None:
    """See that a file can be written, before a minute of measuring.

    Raises:
        InvalidRequest: it is a directory, or nothing can be written there.
    """
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise InvalidRequest(f"cannot write {path}: it is a directory", hint="name a file in it")
    if is_replaced(path):
        try:
            with tempfile.TemporaryFile(dir=directory):
                return
        except OSError as error:
            raise unwritable(path, error) from error
    there = path if os.path.exists(path) else os.path.dirname(os.path.realpath(path))
    if not os.access(there, os.W_OK):
        raise InvalidRequest(f"cannot write {path}", hint="it has to be writable before anything is measured")


def is_same(one: str, other: str) -> bool:
    """True of two names of one file, which one result would take from the other."""
    return is_replaced(one) and os.path.realpath(one) == os.path.realpath(other)


def is_replaced(path: str) -> bool:
    """True of a regular or new file; a device, a pipe or what a link leads to is written into instead."""
    return not os.path.islink(path) and (os.path.isfile(path) or not os.path.exists(path))


def unwritable(path: str, error: OSError) -> InvalidRequest:
    """What to say of a target that cannot be written."""
    hint = "it has to be a file in a directory that is there, or something that can be written into"
    return InvalidRequest(f"cannot write {path}: {error.strerror}", hint=hint)


def deliver(asked: Wanted, result: dict[str, Any]) -> int:
    """Make everything that is asked of a result, and return the exit code: 0, 3 or 4.

    Conditions of a saved result are shown; the exit code is that of those that are asked now.

    Raises:
        InvalidRequest: the earlier run cannot be compared with it, or a file cannot be written: what was to be in
            --output is on stdout then.
    """
    if asked.old is not None:
        result = {**result, "changes": changes.changes(asked.old, result, os.path.basename(asked.old_path))}
    judged = conditions.judge_all(asked.conditions, result)
    if judged:
        asked_now = {one["expression"] for one in judged}
        kept = [one for one in result.get("conditions", ()) if one["expression"] not in asked_now]
        result = {**result, "conditions": [*kept, *judged]}
    made = text.asked(result) if asked.live else render(asked.format, result)
    try:
        if asked.output:
            write(asked.output, made)
        elif made:
            print(made.rstrip("\n"), flush=True)
    except InvalidRequest:  # it took minutes to measure
        print(made.rstrip("\n"), flush=True)
        raise
    finally:
        if asked.html:
            from twinhull.compare.outputs.html.page import page

            write(asked.html, page(result))
    if judged:
        print(text.judged(judged), file=sys.stderr)
    return conditions.exit_code(judged)


def render(form: str, result: dict[str, Any]) -> str:
    """The result in one of the formats."""
    if form == "json":
        return json.dumps(result, indent=2) + "\n"
    makers = {"text": text.render, "csv": samples_csv.render, "markdown": markdown.render, "junit": junit.render}
    return makers[form](result)


def write(path: str, made: str) -> None:
    """Write a result; a regular file appears in its place at once, readable as the caller's others.

    Raises:
        InvalidRequest: it cannot be written (any more).
    """
    replaced = is_replaced(path)
    new = f"{path}.new" if replaced else path
    try:
        with open(new, "w", encoding="utf-8", newline="") as file:
            file.write(made)
        if replaced:
            os.replace(new, path)
    except BrokenPipeError:
        raise
    except OSError as error:
        if replaced:
            files.remove_file(new)
        raise unwritable(path, error) from error
