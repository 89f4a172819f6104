"""What the verbs share: their parsers, the overview, values that explain what is wrong with them."""

from __future__ import annotations

from twinhull.cli.parser import Parser
from twinhull.cli.verbs import VERBS, Verb
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIXES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MINIMUM_MEMORY_BYTES = 6 << 20
MAXIMUM_PROCESSES = 1 << 22  # PID_MAX_LIMIT of linux/threads.h: pids.max takes no more


def make_parser(verb: str, row: Verb) -> Parser:
    """The parser of one verb, still without its own flags."""
    parser = Parser(
        verb,
        description=f"{row.summary[0].upper()}{row.summary[1:]}.",
        epilog="examples:\n" + "".join(f"  {line}\n" for line in row.examples),
    )
    parser.add_argument("--help", action="help", help="show this text")
    return parser


def overview() -> str:
    """The text of `twinhull --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {name:{width}}  {row.summary}" for name, row in VERBS.items()]
    return "\n".join(
        [
            "usage: twinhull [--debug] VERB [OPTIONS] …",
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
            "twinhull --debug VERB … shows where an error came from (so does TWINHULL_DEBUG=1).",
        ]
    )


def group_overview(name: str, row: Verb) -> str:
    """The text of `twinhull GROUP --help`."""
    width = max(map(len, row.verbs))
    lines = [f"  {verb:{width}}  {inner.summary}" for verb, inner in row.verbs.items()]
    itself = [f"usage: twinhull {name} [OPTIONS] …", f"       twinhull {name} VERB [OPTIONS] …"]
    usage = itself if row.alone else [f"usage: twinhull {name} VERB [OPTIONS] …"]
    head = [*usage, "", f"{row.summary[0].upper()}{row.summary[1:]}.", "", *lines]
    foot = ["", "start here:", *(f"  {line}" for line in row.examples)]
    return "\n".join([*head, *foot, "", f"twinhull {name} VERB --help has the options and examples of each."])


def command_behind_image(verb: str, words: Sequence[str]) -> tuple[str, ...]:
    """The command behind IMAGE, without the "--" before it.

    Raises:
        InvalidRequest: it begins with what looks like a flag of the verb, which would do nothing there.
    """
    if words[:1] == ["--"]:
        return tuple(words[1:])
    if words and words[0].startswith("--"):
        raise InvalidRequest(
            f"{verb}: {words[0]} behind IMAGE", hint="flags stand before IMAGE; a command begins behind --"
        )
    return tuple(words)


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


def whole(text: str, least: int) -> int:
    """A whole number from `least` on.

    Raises:
        InvalidRequest: it is none.
    """
    if not (text.isascii() and text.isdecimal() and int(text) >= least):
        raise InvalidRequest(f"{text!r} is no number (whole, {least} or more)")
    return int(text)


def count(text: str) -> int:
    """How many, one at least."""
    return whole(text, 1)


def size_of_pool(text: str) -> int:
    """How many, or none."""
    return whole(text, 0)


def process_count(value: int) -> int:
    """A limit of processes; none above 0 is none at all.

    Raises:
        InvalidRequest: more than a kernel takes.
    """
    if value > MAXIMUM_PROCESSES:
        raise InvalidRequest(f"--pids-limit {value} is more than {MAXIMUM_PROCESSES}", hint="-1 is no limit")
    return value


def cpu_count(text: str) -> float:
    """A number of CPUs, as "1.5".

    Raises:
        InvalidRequest: no number, not a positive one, or more than this machine has.
    """
    import os

    available = os.cpu_count() or 1
    try:
        value = float(text)
    except ValueError:
        raise InvalidRequest(f"--cpus {text}: no number", hint="--cpus 1.5") from None
    if not 0.01 <= value <= available:
        raise InvalidRequest(f"--cpus {text}: this machine has 0.01 to {available}", hint="twinhull doctor")
    return value


def add_format(parser: Parser, default: str = "table") -> None:
    """The flag --format."""
    parser.add_argument("--format", choices=(default, "json"), default=default, help="for people, or for programs")
