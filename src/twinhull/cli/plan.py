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
    ops = preview(config, request)
    if arguments.format == "json":
        rows = [
            {
                "stage": BY_NAME[op.name].stage,
                "op": op.name,
                "args": [value.hex() if isinstance(value, bytes) else value for value in op.args],
            }
            for op in ops
        ]
        print(document(rows))
        return 0
    for stage in ("host", "child", "undo"):
        print(f"# {stage}")
        print(render(op for op in ops if BY_NAME[op.name].stage == stage), end="")
    if os.geteuid() != 0:
        print("# note: this is what root would do")
    return 0
