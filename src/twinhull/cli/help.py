"""The text of --help, and what docs/cli.md says: argparse's, from the same arguments."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Argument, Parser

HELP_WIDTH = 100


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of a fixed width, whatever the terminal's is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=HELP_WIDTH, max_help_position=34)


def full_parser(parser: Parser) -> argparse.ArgumentParser:
    """Return argparse's parser of a verb."""
    full = argparse.ArgumentParser(
        add_help=False,  # -h is the host name, as in Docker
        prog=f"twinhull {parser.verb}",
        description=parser.description,
        epilog=parser.epilog,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    for argument in parser.arguments:
        full.add_argument(*(argument.names or (argument.dest,)), **keywords(argument))
    return full


def keywords(argument: Argument) -> dict[str, Any]:
    """Return what argparse's add_argument is told about an argument."""
    told: dict[str, Any] = {"action": argument.action, "help": argument.help}
    if argument.names:
        told["dest"] = argument.dest
    if argument.takes_value:
        told |= {"nargs": argument.nargs or None, "type": argument.type, "choices": argument.choices or None}
        told |= {"default": argument.default, "metavar": argument.metavar}
    return told
