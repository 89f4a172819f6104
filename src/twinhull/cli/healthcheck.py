"""healthcheck run: the check of a workload, now."""

from __future__ import annotations

import sys

from twinhull.cli.progress import prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def configure_run(parser: Parser) -> None:
    """Its one workload."""
    parser.add_argument("name", metavar="NAME")


def run_run(arguments: Arguments, config: Config) -> int:
    """End with 0 if it is well, with 1 and what the check wrote if not."""
    found = prepared(config).live.check(arguments.name)
    if found.exit_code == 0:
        return 0
    sys.stdout.buffer.write(found.stdout + found.stderr)
    print("unhealthy", file=sys.stderr)
    return 1
