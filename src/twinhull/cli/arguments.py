"""Argument parsing shared by the verbs: no abbreviations, help with examples, values that explain."""

from __future__ import annotations

import argparse

from twinhull.cli.verbs import VERBS, Verb
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

SUFFIXES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MINIMUM_MEMORY_BYTES = 6 << 20
HELP_WIDTH = 100


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of a fixed width: asking the terminal imports shutil."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=HELP_WIDTH, max_help_position=34)


class Parser(argparse.ArgumentParser):
    """Errors in one line, with where to look; flags are added without the price of a formatter each."""

    formatter: Formatter | None = None

    def _get_formatter(self) -> argparse.HelpFormatter:
        """One formatter for all checks of metavars: argparse makes one a flag, and asks the terminal for each."""
        if self.formatter is None:
            self.formatter = Formatter(self.prog)
        return self.formatter

    def format_help(self) -> str:
        """Help from a fresh formatter: the shared one keeps what it was given."""
        self.formatter = None
        return super().format_help()

    def check(self, words: list[str]) -> None:
        """Name an unknown flag, before argparse complains that the image is missing.

        Raises:
            InvalidRequest: a flag before the first argument is none of ours.
        """
        known = self._option_string_actions
        position = 0
        while position < len(words) and words[position].startswith("-") and words[position] not in ("-", "--"):
            name, equals, _ = words[position].partition("=")
            if name.startswith("--") and name not in known:
                from difflib import get_close_matches

                close = get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"{self.prog} --help"
                raise InvalidRequest(f"{self.prog.partition(' ')[2]}: unknown flag {name}", hint=hint)
            takes_value = name in known and known[name].nargs != 0
            position += 2 if takes_value and not equals else 1

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing a page."""
        message = message.replace(", CMD", "")  # argparse counts what may be empty as required
        raise InvalidRequest(f"{self.prog.partition(' ')[2]}: {message}", hint=f"{self.prog} --help")


def untranslated(text: str) -> str:
    """What argparse says, as it says it: looking for translations costs 2 ms at each start."""
    return text


def make_parser(verb: str, row: Verb) -> Parser:
    """The parser of one verb, still without its own flags."""
    argparse._ = untranslated  # type: ignore[attr-defined]  # its own name for gettext
    parser = Parser(
        add_help=False,  # -h is the host name, as in Docker
        prog=f"twinhull {verb}",
        description=f"{row.summary[0].upper()}{row.summary[1:]}.",
        epilog="examples:\n" + "".join(f"  {line}\n" for line in row.examples),
        allow_abbrev=False,
    )
    parser.add_argument("--help", action="help", help="show this text")
    return parser


def overview() -> str:
    """The text of `twinhull --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {name:{width}}  {row.summary}" for name, row in VERBS.items()]
    return "\n".join(
        [
            "usage: twinhull VERB [OPTIONS] …",
            "",
            "Run any OCI image as a container or as a virtual machine, and measure the difference.",
            "",
            *lines,
            "",
            "start here:",
            "  twinhull run --rm busybox echo hello",
            "  twinhull run --rm --vm busybox echo hello",
            "  twinhull compare",
            "",
            "twinhull VERB --help has the options and examples of each.",
        ]
    )


def size_bytes(text: str) -> int:
    """Return "64m", "1.5g" or "1048576" as bytes, as Docker reads them.

    Raises:
        InvalidRequest: not a size.
    """
    number = text.lower().removesuffix("ib").removesuffix("b") or text
    suffix = number[-1:] if number[-1:].isalpha() else ""
    try:
        value = float(number.removesuffix(suffix)) * SUFFIXES[suffix]
    except (KeyError, ValueError):
        raise InvalidRequest(f"invalid size {text!r}", hint="a number with b, k, m or g: 512m") from None
    if not 0 <= value < 1 << 62:
        raise InvalidRequest(f"invalid size {text!r}", hint="a number with b, k, m or g: 512m")
    return int(value)


def memory_bytes(text: str) -> int:
    """A memory limit.

    Raises:
        InvalidRequest: less than a process can start with.
    """
    value = size_bytes(text)
    if 0 < value < MINIMUM_MEMORY_BYTES:
        raise InvalidRequest(f"--memory {text} is too little", hint="at least 6m")
    return value


def cpu_count(text: str) -> float:
    """A number of CPUs, as "1.5".

    Raises:
        InvalidRequest: not a positive number, or more than this machine has.
    """
    import os

    available = os.cpu_count() or 1
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.01 <= value <= available:
        raise InvalidRequest(f"--cpus {text}: this machine has 0.01 to {available}", hint="twinhull doctor")
    return value


def add_format(parser: argparse.ArgumentParser, default: str = "table") -> None:
    """The flag --format."""
    parser.add_argument("--format", choices=(default, "json"), default=default, help="for people, or for programs")
