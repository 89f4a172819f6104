"""`twinhull version`."""

from __future__ import annotations

import os
import platform

from twinhull import __version__
from twinhull.cli.arguments import add_format
from twinhull.cli.render import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

TOOLS = (
    ("qemu", ("qemu-system-x86_64", "--version")),
    ("skopeo", ("skopeo", "--version")),
    ("nftables", ("nft", "--version")),
    ("dnsmasq", ("dnsmasq", "--version")),
    ("erofs-utils", ("mkfs.erofs", "--version")),
)


def configure_version(parser: Parser) -> None:
    """Flags of version."""
    add_format(parser)


def run_version(arguments: Arguments, config: Config) -> int:
    """Print versions; a tool that is missing is said to be."""
    from twinhull.plan.frames import PROTOCOL_VERSION
    from twinhull.plan.ops import VERSION

    rows = {
        "twinhull": __version__,
        "plan format": str(VERSION),
        "frame protocol": str(PROTOCOL_VERSION),
        "python": platform.python_version(),
        "kernel": os.uname().release,
        **{name: tool_version(argv) for name, argv in TOOLS},
    }
    if arguments.format == "json":
        print(document(rows))
    else:
        width = max(map(len, rows))
        print("\n".join(f"{name:{width}}  {text}" for name, text in rows.items()))
    return 0


def tool_version(argv: tuple[str, ...]) -> str:
    """The first line that the tool says of itself."""
    from twinhull.host.spawn import run_tool

    try:
        said = run_tool(argv, timeout_s=5.0)
    except FileNotFoundError:
        return "not installed"
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"
