"""diff, commit, export and rename: what a workload has made of its own, and what it is called."""

from __future__ import annotations

import sys

from twinhull import jsontext
from twinhull.cli.arguments import add_format
from twinhull.cli.progress import prepared
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def configure_diff(parser: Parser) -> None:
    """Arguments of diff."""
    add_format(parser)
    parser.add_argument("name", metavar="NAME")


def run_diff(arguments: Arguments, config: Config) -> int:
    """List what was added, changed and deleted."""
    found = prepared(config).files.diff(arguments.name)
    if arguments.format == "json":
        print(jsontext.dumps([change._asdict() for change in found]))
        return 0
    for change in found:
        print(change.kind, printable(change.path))
    return 0


def printable(text: str) -> str:
    """On one line and without terminal escapes: a workload named it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def configure_commit(parser: Parser) -> None:
    """Flags of commit."""
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="a comment in the image's history")
    parser.add_argument("-a", "--author", default="", metavar="NAME", help="its author")
    parser.add_argument(
        "-c", "--change", action="append", default=[], metavar="LINE", help='of a Dockerfile: CMD ["nginx"], ENV K=V …'
    )
    parser.add_argument("--no-pause", action="store_true", help="let it run meanwhile")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("image", nargs="?", default="", metavar="IMAGE", help="what to call the image")


def run_commit(arguments: Arguments, config: Config) -> int:
    """Make an image and print its id."""
    from twinhull.engine.commit import Wish

    pause = not arguments.no_pause
    wish = Wish(arguments.image, arguments.message, arguments.author, tuple(arguments.change), pause)
    print(prepared(config).files.commit(arguments.name, wish).config_digest)
    return 0


def configure_export(parser: Parser) -> None:
    """Flags of export."""
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write there instead of to stdout")
    parser.add_argument("name", metavar="NAME")


def run_export(arguments: Arguments, config: Config) -> int:
    """Write the root as a tar."""
    engine = prepared(config)
    instance = engine.find(arguments.name)
    if arguments.output:
        with open(arguments.output, "wb") as file:
            engine.files.export(instance.id, file)
        return 0
    if sys.stdout.isatty():
        raise InvalidRequest("a tar is not for a terminal", hint=f"twinhull export -o FILE.tar {arguments.name}")
    engine.files.export(instance.id, sys.stdout.buffer)
    return 0


def configure_rename(parser: Parser) -> None:
    """Arguments of rename."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("new", metavar="NEW")


def run_rename(arguments: Arguments, config: Config) -> int:
    """Give it another name."""
    prepared(config).live.rename(arguments.name, arguments.new)
    return 0
