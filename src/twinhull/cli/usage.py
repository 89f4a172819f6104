"""stats and top: what workloads use, and what runs in one."""

from __future__ import annotations

import sys
import time

from twinhull.cli.arguments import add_format
from twinhull.cli.control import each
from twinhull.cli.parser import REMAINDER
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, size, table
from twinhull.engine import processes, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.engine import Engine
    from twinhull.engine.usage import Sample, Usage
    from twinhull.model import Instance

INTERVAL_S = 1.0
UNKNOWN = "--"  # as docker stats has it
OF_THE_INSIDE = ("cpu_percent", "memory_percent", "memory_bytes", "pids")
CLEAR = "\033[H\033[2J"
SHORT_ID = 12
HEADER = ("ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS", "ON HOST")


def configure_stats(parser: Parser) -> None:
    """Flags of stats."""
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    parser.add_argument("--no-stream", action="store_true", help="once, not every second")
    parser.add_argument("--no-trunc", action="store_true", help="ids in full")
    add_format(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all that run, without")


def run_stats(arguments: Arguments, config: Config) -> int:
    """Show what is used: the first time between two looks a second apart, then from look to look."""
    engine = prepared(config)
    ids: list[str] = []
    code = each(arguments.names, lambda name: ids.append(engine.find(name).id), show=False)
    if arguments.names and not ids:
        return code
    before = look(engine, ids, everything=arguments.all)
    while True:
        time.sleep(INTERVAL_S)
        now = look(engine, ids, everything=arguments.all)
        known = {instance.id: sample for instance, sample in before}
        rows = [(instance, usage.between(known.get(instance.id, sample), sample)) for instance, sample in now]
        show(arguments, rows)
        if arguments.no_stream:
            return code
        before = now


def look(engine: Engine, ids: list[str], *, everything: bool) -> list[tuple[Instance, Sample]]:
    """One sample of each workload that is meant; without `ids` of those that run, or of all."""
    if ids:
        chosen = [engine.find(identity) for identity in ids]
    else:
        chosen = [instance for instance, _ in engine.ps(everything=everything)]
    return [(instance, usage.sample(engine.home, instance)) for instance in chosen]


def show(arguments: Arguments, rows: list[tuple[Instance, Usage]]) -> None:
    """Print one look; on a terminal in the place of the last."""
    if arguments.format == "json":
        print(document([described(*row) for row in rows]), flush=True)
        return
    if not arguments.no_stream and sys.stdout.isatty():
        print(CLEAR, end="")
    width = None if arguments.no_trunc else SHORT_ID
    print(table(HEADER, [cells(*row, width) for row in rows]), flush=True)


def cells(instance: Instance, used: Usage, width: int | None) -> tuple[str, ...]:
    """One line."""
    sample = used.sample
    host = (
        f"{used.host_cpu_percent:.2f}%, {size(sample.host_memory_bytes)}" if instance.isolation != "container" else ""
    )
    limit = size(sample.memory_limit_bytes)
    return (
        instance.id[:width],
        instance.name,
        *(
            (f"{used.cpu_percent:.2f}%", f"{size(sample.memory_bytes)} / {limit}", f"{memory_percent(sample):.2f}%")
            if sample.is_known
            else (UNKNOWN, f"{UNKNOWN} / {limit if sample.memory_limit_bytes else UNKNOWN}", UNKNOWN)
        ),
        f"{size(sample.received_bytes)} / {size(sample.sent_bytes)}",
        f"{size(sample.read_bytes)} / {size(sample.written_bytes)}",
        str(sample.pids) if sample.is_known else UNKNOWN,
        host,
    )


def memory_percent(sample: Sample) -> float:
    """Of the limit."""
    return 100 * sample.memory_bytes / sample.memory_limit_bytes if sample.memory_limit_bytes else 0.0


def described(instance: Instance, used: Usage) -> dict[str, Any]:
    """The same as JSON; what cannot be known of a paused guest is null."""
    left_out = ("moment", "host_cpu_usec", "is_known")
    counters = {key: value for key, value in used.sample._asdict().items() if key not in left_out}
    found = {
        "id": instance.id,
        "name": instance.name,
        "isolation": instance.isolation,
        "cpu_percent": round(used.cpu_percent, 2),
        "memory_percent": round(memory_percent(used.sample), 2),
        "host_cpu_percent": round(used.host_cpu_percent, 2),
        **counters,
    }
    return found if used.sample.is_known else found | dict.fromkeys(OF_THE_INSIDE)


def configure_top(parser: Parser) -> None:
    """Arguments of top."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("options", nargs=REMAINDER, metavar="OPTIONS", help="of ps: -ef (default), aux, -o COL,…")


def run_top(arguments: Arguments, config: Config) -> int:
    """List the processes of one workload."""
    columns = processes.columns_of(arguments.options)
    engine = prepared(config)
    found = engine.live.top(arguments.name)
    print(table([column.header for column in columns], [[column.show(row) for column in columns] for row in found]))
    return 0
