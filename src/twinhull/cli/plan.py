"""`twinhull plan`: what would be done, without doing it."""

from __future__ import annotations

import os

from twinhull.cli.arguments import add_format
from twinhull.cli.render import document
from twinhull.cli.run import configure_create, request_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def configure_plan(parser: Parser) -> None:
    """Flags of plan: those of create."""
    configure_create(parser)
    add_format(parser, "text")


def run_plan(arguments: Arguments, config: Config) -> int:
    """Print the plan, one op a line, by stage."""
    from twinhull.engine.preview import preview
    from twinhull.plan.ops import BY_NAME, render

    request = request_of(arguments, config)
    parts = preview(config, request)
    if arguments.format == "json":
        rows = [
            {
                "place": part.place,
                "stage": BY_NAME[op.name].stage,
                "op": op.name,
                "args": [value.hex() if isinstance(value, bytes) else value for value in op.args],
            }
            for part in parts
            for op in part.ops
        ]
        print(document(rows))
        return 0
    for part in parts:
        print("".join(f"# note: {note}\n" for note in part.notes), end="")
        for stage in ("host", "child", "undo"):
            ops = [op for op in part.ops if BY_NAME[op.name].stage == stage]
            if ops or part.place == "host":
                print(f"# {stage}" if part.place == "host" else f"# in the guest: {stage}")
                print(render(ops), end="")
    if os.geteuid() != 0:
        print("# note: this is what root would do")
    return 0
