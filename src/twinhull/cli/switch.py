"""switch: a container becomes a virtual machine, or the other way round."""

from __future__ import annotations

import sys

from twinhull.cli.control import seconds
from twinhull.cli.progress import prepared
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

STARTED, STOPPED = "its processes started anew", "it was not running, and is not"


def configure_switch(parser: Parser) -> None:
    """Flags of switch."""
    parser.add_argument("--to", choices=("container", "vm"), default="", help="the side that it goes to")
    parser.add_argument(
        "-t", "--time", type=seconds, default=None, metavar="S", help="seconds that its process has to end"
    )
    parser.add_argument(
        "--accept-weak-wall", action="store_true", help="what is not trusted may go to the host's kernel all the same"
    )
    parser.add_argument("name", metavar="NAME")


def run_switch(arguments: Arguments, config: Config) -> int:
    """Move one workload and say what that meant.

    Raises:
        InvalidRequest: nobody says where to.
    """
    if not arguments.to:
        raise InvalidRequest("switch: where to?", hint=f"twinhull switch {arguments.name} --to vm")
    from twinhull.engine.switching import TITLES

    started = prepared(config).live.switch(
        arguments.name, arguments.to, timeout_s=arguments.time, accept_weak_wall=arguments.accept_weak_wall
    )
    kept = f"its files, volumes, networks and name are the same; {STARTED if started else STOPPED}"
    print(f"{arguments.name} is a {TITLES[arguments.to]} now: {kept}", file=sys.stderr)
    print(arguments.name)
    return 0
