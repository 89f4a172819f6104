"""Write docs/cli.md from the command line's own parsers, and publish the schema of a comparison.

    python scripts/document_cli.py

Promise: what the documentation lists is what the parser accepts; tests/style compares them.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # the commands are read where they stand, installed or not

from twinhull.cli.arguments import make_parser  # noqa: E402
from twinhull.cli.help import full_parser  # noqa: E402
from twinhull.cli.verbs import Verb, every_verb  # noqa: E402
from twinhull.compare.outputs import schema  # noqa: E402

PAGE = ROOT / "docs/cli.md"
SCHEMA = ROOT / "docs/compare.schema.json"
HEAD = """# The commands
Written by `make docs` from the parsers; `twinhull VERB --help` says the same. Exit codes: the workload's own;
125 twinhull itself failed, 126 the program cannot be executed, 127 there is none, 128+n ended by signal n. Verbs that
take several names go on after one that fails and then end with 1.
"""


def main() -> None:
    """Write the page, and the copy of the schema that readers find."""
    PAGE.write_text(page())
    SCHEMA.write_text(Path(schema.PATH).read_text())


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(section(name, row) for name, row in every_verb())


def section(name: str, row: Verb) -> str:
    """Return what the page says about one verb."""
    actions = parser_of(name, row)._actions
    operands = " ".join(operand(action) for action in actions if not action.option_strings)
    lines = [
        f"\n## twinhull {name}",
        f"{sentence(row.summary)} `twinhull {' '.join(filter(None, [name, operands]))}`\n",
    ]
    rows = [option(action) for action in actions if action.option_strings and action.help != argparse.SUPPRESS]
    lines += ["| Option | |", "| --- | --- |", *rows, ""]
    lines += ["```", *row.examples, "```"]
    return "\n".join(lines) + "\n"


def parser_of(name: str, row: Verb) -> argparse.ArgumentParser:
    """Return the parser of one verb, with its flags."""
    parser = make_parser(name, row)
    getattr(import_module(f"twinhull.cli.{row.module}"), f"configure_{row.function}")(parser)
    return full_parser(parser)


def sentence(text: str) -> str:
    """Return a summary as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def option(action: argparse.Action) -> str:
    """Return one row of the table of options."""
    value = ""
    if action.nargs != 0:
        value = f" {action.metavar or '{' + ','.join(map(str, action.choices or ())) + '}'}"
        value = f" {action.dest.upper()}" if value == " {}" else value
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    return f"| {names}{value.replace('|', chr(92) + '|')} | {action.help or ''} |"


def operand(action: argparse.Action) -> str:
    """Return how a positional argument is shown."""
    shown = str(action.metavar or action.dest.upper())
    many = {"*": f"[{shown} …]", "+": f"{shown} …", "?": f"[{shown}]", argparse.REMAINDER: f"[{shown} …]"}
    return many.get(str(action.nargs), shown)


if __name__ == "__main__":
    main()
