"""`twinhull vm pool …`: guests that wait for the next virtual machines."""

from __future__ import annotations

import sys

from twinhull.cli.arguments import add_format, memory_bytes, size_bytes, size_of_pool
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, size, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

SHORT_KEY = 12


def configure_set(parser: Parser) -> None:
    """Flags of vm pool set."""
    add = parser.add_argument
    add("--memory", "-m", type=memory_bytes, default=0, metavar="M", help="for workloads with this limit")
    add("--memory-budget", type=size_bytes, default=0, metavar="M", help="what all of them may take of the host's")
    add("--wait", action="store_true", help="return when they are made")
    add(
        "count",
        type=size_of_pool,
        metavar="N",
        help="how many; 0 for none",
    )


def run_set(arguments: Arguments, config: Config) -> int:
    """Say how many, and have them made."""
    from twinhull.engine import life, pools, spares

    engine = prepared(config)
    life.require_root(engine.home)
    pools.set_size(engine.home, arguments.count, arguments.memory_budget, memory_bytes=arguments.memory)
    if arguments.wait:
        spares.await_made(config)
        waiting = max((row.waiting for row in pools.everything(config)), default=0)
        if waiting < arguments.count and arguments.memory_budget:
            budget = size(arguments.memory_budget)
            print(f"{waiting} of {arguments.count} wait: a budget of {budget} holds no more", file=sys.stderr)
    return 0


def configure_ls(parser: Parser) -> None:
    """Flags of vm pool ls."""
    add_format(parser)


def run_ls(arguments: Arguments, config: Config) -> int:
    """List what waits, a line for each template in use."""
    from twinhull.engine import pools

    rows, used = pools.everything(config), pools.used_bytes(config)
    if arguments.format == "json":
        print(document({"templates": [row._asdict() for row in rows], "used_bytes": used}))
        return 0
    cells = [
        (row.template[:SHORT_KEY], row.kernel or "-", size(row.memory_bytes), str(row.waiting), str(row.wanted))
        for row in rows
    ]
    print(table(("TEMPLATE", "KERNEL", "MEMORY", "WAITING", "WANTED"), cells))
    print(f"all together take {size(used)} of the host's memory")
    return 0


def configure_drain(parser: Parser) -> None:
    """vm pool drain has no flags."""


def run_drain(arguments: Arguments, config: Config) -> int:
    """Undo them all."""
    from twinhull.engine import life, pools

    engine = prepared(config)
    life.require_root(engine.home)
    pools.drain(engine.home)
    return 0
