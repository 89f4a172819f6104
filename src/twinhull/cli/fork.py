"""`twinhull fork`, `snapshot`, `restore`: copies of a running virtual machine, now and later."""

from __future__ import annotations

import time

from twinhull.cli.arguments import add_format, count
from twinhull.cli.control import each
from twinhull.cli.ending import undo_on_termination
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, duration, size, table, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.store.snapshots import Snapshot


def configure_fork(parser: Parser) -> None:
    """Flags of fork."""
    add_copies(parser)
    parser.add_argument("original", metavar="NAME", help="name, id, or beginning of an id")


def add_copies(parser: Parser) -> None:
    """How many, and what they are called."""
    add = parser.add_argument
    add("-n", "--count", type=count, default=1, metavar="N", help="so many copies (1), all or none")
    add("--name", default="", metavar="NEW", help="of the copy; of several NEW-1, NEW-2 and so on")


def run_fork(arguments: Arguments, config: Config) -> int:
    """Make copies and print their ids."""
    undo_on_termination()
    engine = prepared(config)
    made = engine.live.fork(arguments.original, count=arguments.count, copy_name=arguments.name)
    for copy in made.copies:
        print(copy.id)
    return 0


def configure_snapshot(parser: Parser) -> None:
    """Arguments of snapshot."""
    parser.add_argument("original", metavar="NAME", help="name, id, or beginning of an id")
    parser.add_argument("tag", metavar="TAG", help="what tells it from others of the same workload")


def run_snapshot(arguments: Arguments, config: Config) -> int:
    """Take a snapshot and print what it is called."""
    undo_on_termination()
    print(prepared(config).live.snapshot(arguments.original, arguments.tag).snapshot.reference)
    return 0


def configure_restore(parser: Parser) -> None:
    """Flags of restore."""
    add_copies(parser)
    parser.add_argument("reference", metavar="NAME:TAG", help="a snapshot")


def run_restore(arguments: Arguments, config: Config) -> int:
    """Start machines from a snapshot and print their ids."""
    undo_on_termination()
    for copy in prepared(config).live.restore(arguments.reference, count=arguments.count, name=arguments.name):
        print(copy.id)
    return 0


def configure_ls(parser: Parser) -> None:
    """Flags of snapshot ls."""
    parser.add_argument("-q", "--quiet", action="store_true", help="names only")
    add_format(parser)


def run_ls(arguments: Arguments, config: Config) -> int:
    """List snapshots."""
    rows = prepared(config).live.snapshots()
    if arguments.format == "json":
        print(document([shown(row) for row in rows]))
    elif arguments.quiet:
        print("".join(f"{row.reference}\n" for row in rows), end="")
    else:
        cells = [
            (row.reference, row.instance.image, size(row.size_bytes), f"{duration(time.time() - row.created)} ago")
            for row in rows
        ]
        print(table(("SNAPSHOT", "IMAGE", "SIZE", "TAKEN"), cells))
    return 0


def shown(row: Snapshot) -> dict[str, Any]:
    """One snapshot for programs: its size in bytes on the disk."""
    return {
        "id": row.id,
        "name": row.name,
        "tag": row.tag,
        "image": row.instance.image,
        "workload": row.instance.id,
        "template": row.template,
        "created": timestamp(row.created),
        "size_bytes": row.size_bytes,
    }


def configure_rm(parser: Parser) -> None:
    """Arguments of snapshot rm."""
    parser.add_argument("references", nargs="+", metavar="NAME:TAG", help="a snapshot")


def run_rm(arguments: Arguments, config: Config) -> int:
    """Delete snapshots."""
    return each(arguments.references, prepared(config).live.remove_snapshot)
