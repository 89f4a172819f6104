"""pause and unpause."""

from __future__ import annotations

from twinhull.cli.control import add_names, each
from twinhull.cli.progress import prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def configure_pause(parser: Parser) -> None:
    """Arguments of pause."""
    add_names(parser)


def run_pause(arguments: Arguments, config: Config) -> int:
    """Freeze workloads."""
    return each(arguments.names, prepared(config).live.pause)


def configure_unpause(parser: Parser) -> None:
    """Arguments of unpause."""
    add_names(parser)


def run_unpause(arguments: Arguments, config: Config) -> int:
    """Let workloads go on."""
    return each(arguments.names, prepared(config).live.unpause)
