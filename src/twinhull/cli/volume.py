"""`twinhull volume create|ls|inspect|rm|prune`."""

from __future__ import annotations

import time

from twinhull.cli.arguments import add_format
from twinhull.cli.control import confirmed, each, show_each
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, table
from twinhull.cli.run import label_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.engine.volumes import Row


def configure_create(parser: Parser) -> None:
    """Flags of volume create."""
    parser.add_argument("-l", "--label", action="append", default=[], metavar="K=V", help="a label")
    parser.add_argument("name", nargs="?", default="", metavar="NAME")


def run_create(arguments: Arguments, config: Config) -> int:
    """Make a volume and print its name; one that is there stays as it is."""
    import os

    labels = tuple(label_of(text) for text in arguments.label)
    with prepared(config) as engine:
        name = arguments.name or os.urandom(32).hex()
        print(engine.create_volume(name, labels=labels, anonymous=not arguments.name))
    return 0


def configure_ls(parser: Parser) -> None:
    """Flags of volume ls."""
    parser.add_argument("-q", "--quiet", action="store_true", help="names only")
    add_format(parser)


def run_ls(arguments: Arguments, config: Config) -> int:
    """List volumes."""
    with prepared(config) as engine:
        rows = engine.volumes()
    if arguments.format == "json":
        print(document([shown(row) for row in rows]))
    elif arguments.quiet:
        print("".join(f"{row.name}\n" for row in rows), end="")
    else:
        print(table(("VOLUME", "USED BY"), [(row.name, ", ".join(row.users)) for row in rows]))
    return 0


def configure_inspect(parser: Parser) -> None:
    """Arguments of volume inspect."""
    parser.add_argument("names", nargs="+", metavar="NAME")


def run_inspect(arguments: Arguments, config: Config) -> int:
    """Everything known about volumes, as JSON."""
    with prepared(config) as engine:
        return show_each(arguments.names, lambda name: shown(engine.volume(name)))


def shown(row: Row) -> dict[str, Any]:
    """One volume for programs."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.created))
    return {**row._asdict(), "created": created, "labels": dict(row.labels), "users": list(row.users)}


def configure_rm(parser: Parser) -> None:
    """Flags of volume rm."""
    parser.add_argument("-f", "--force", action="store_true", help="one that is not there is fine")
    parser.add_argument("names", nargs="+", metavar="NAME")


def run_rm(arguments: Arguments, config: Config) -> int:
    """Delete volumes with their content."""
    with prepared(config) as engine:
        return each(arguments.names, lambda name: engine.remove_volume(name, force=arguments.force))


def configure_prune(parser: Parser) -> None:
    """Flags of volume prune."""
    parser.add_argument("-a", "--all", action="store_true", help="named volumes too")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")


def run_prune(arguments: Arguments, config: Config) -> int:
    """Delete the volumes that no workload has asked for.

    Raises:
        InvalidRequest: nobody can be asked, and --force is not given.
    """
    what = "every volume" if arguments.all else "every anonymous volume"
    if not arguments.force and not confirmed(f"Delete {what} that no workload has asked for?"):
        return 1
    with prepared(config) as engine:
        for name in engine.prune_volumes(everything_unused=arguments.all):
            print(name)
    return 0
