"""update: other limits and another restart policy for workloads."""

from __future__ import annotations

from twinhull.cli.arguments import cpu_count, memory_bytes, process_count
from twinhull.cli.control import add_names, each
from twinhull.cli.progress import prepared
from twinhull.engine.updating import Limits
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def configure_update(parser: Parser) -> None:
    """Flags of update."""
    add = parser.add_argument
    add("--memory", "-m", type=memory_bytes, default=0, metavar="M", help="limit of memory: 512m")
    add("--cpus", type=cpu_count, default=0.0, metavar="N", help="limit of CPUs: 1.5")
    add("--pids-limit", type=int, default=0, metavar="N", help="limit of processes; -1 takes it away")
    add("--restart", default="", metavar="POLICY", help="no, on-failure[:N], always, unless-stopped")
    add_names(parser)


def run_update(arguments: Arguments, config: Config) -> int:
    """Change each."""
    if arguments.pids_limit < -1:
        raise InvalidRequest("--pids-limit takes a number above 0, or -1 for none")
    limits = Limits(arguments.memory, arguments.cpus, process_count(arguments.pids_limit), arguments.restart)
    engine = prepared(config)
    return each(arguments.names, lambda name: engine.live.update(name, limits))
