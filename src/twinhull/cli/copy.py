"""cp: files into a workload and out of it."""

from __future__ import annotations

import sys

from twinhull.cli.progress import prepared
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

CHUNK_BYTES = 1 << 16


def configure_cp(parser: Parser) -> None:
    """Flags of cp."""
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners, set-id bits and capabilities")
    parser.add_argument("-L", "--follow-link", action="store_true", help="copy what a link at SRC leads to")
    parser.add_argument("source", metavar="SRC", help="PATH or NAME:PATH, or - for a tar on stdin")
    parser.add_argument("target", metavar="DST", help="NAME:PATH or PATH, or - for a tar on stdout")


def run_cp(arguments: Arguments, config: Config) -> int:
    """Copy in the direction that the words say."""
    (source, path), (target, place) = split(arguments.source), split(arguments.target)
    if bool(source) == bool(target):
        what = "copying between workloads is not supported" if source else "one of the two has to be in a workload"
        raise InvalidRequest(what, hint="twinhull cp NAME:PATH PATH, or twinhull cp PATH NAME:PATH")
    files = prepared(config).files
    keep, follow = arguments.archive, arguments.follow_link
    if source and place == "-":
        if sys.stdout.isatty():
            raise InvalidRequest("a tar is not for a terminal", hint="twinhull cp NAME:PATH - > FILE.tar")
        files.tar_out(source, path, sys.stdout.buffer, follow=follow)
    elif source:
        files.copy_out(source, path, place, archive=keep, follow=follow)
    elif path == "-":
        files.tar_in(chunks(), target, place)
    else:
        files.copy_in(path, target, place, archive=keep, follow=follow)
    return 0


def split(text: str) -> tuple[str, str]:
    """(workload or "", path): as Docker's, a path that begins with / or . is one of the host."""
    name, colon, path = text.partition(":")
    if not colon or text[:1] in ("/", "."):
        return "", text
    if not name or not path:
        raise InvalidRequest(f"{text!r} names no file of a workload", hint="NAME:PATH")
    return name, path


def chunks() -> Iterator[bytes]:
    """What comes on stdin."""
    while chunk := sys.stdin.buffer.read(CHUNK_BYTES):
        yield chunk
