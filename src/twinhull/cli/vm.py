"""`twinhull vm …`: what virtual machines start from."""

from __future__ import annotations

import sys
import time

from twinhull.cli.arguments import add_format, count, cpu_count, memory_bytes
from twinhull.cli.control import each
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, duration, size, table, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.engine.kernels import Build
    from twinhull.engine.templates import Listed

SHORT_KEY = 12


def configure_warm(parser: Parser) -> None:
    """Flags of vm warm."""
    add = parser.add_argument
    add("--memory", "-m", type=memory_bytes, default=0, metavar="M", help="for workloads with this limit")
    add("--cpus", type=cpu_count, default=0.0, metavar="N", help="for workloads with this limit")
    add("--shares", action="store_true", help="for workloads with volumes")
    add("--platform", default="", help="for images of this platform: linux/arm64")
    add_format(parser)


def run_warm(arguments: Arguments, config: Config) -> int:
    """Make the template and print its name."""
    from twinhull.engine import templates

    engine = prepared(config)
    made = templates.warm(
        engine.home,
        memory_bytes=arguments.memory,
        cpus=arguments.cpus,
        shares=arguments.shares,
        platform=arguments.platform,
    )
    print(document(described(made)) if arguments.format == "json" else made.key)
    return 0


def configure_template_ls(parser: Parser) -> None:
    """Flags of vm template ls."""
    parser.add_argument("-q", "--quiet", action="store_true", help="only names")
    add_format(parser)


def run_template_ls(arguments: Arguments, config: Config) -> int:
    """List templates."""
    from twinhull.engine import templates

    listed = templates.everything(config)
    if arguments.format == "json":
        print(document([described(row) for row in listed]))
        return 0
    if arguments.quiet:
        for row in listed:
            print(row.key)
        return 0
    header = ("NAME", "KERNEL", "ACCELERATOR", "CPUS", "MEMORY", "VOLUMES", "DISK", "HELD", "IMPRINT", "LAST USED")
    print(table(header, [cells(row) for row in listed]))
    return 0


def cells(row: Listed) -> tuple[str, ...]:
    """One line of the table."""
    return (
        row.key[:SHORT_KEY],
        row.kernel or "-",
        row.accelerator or "-",
        str(row.cpus or "-"),
        size(row.memory_bytes) if row.memory_bytes else "-",
        "yes" if row.shares else "no",
        size(row.disk_bytes),
        size(row.held_bytes) if row.holder else "no",
        size(row.imprint_bytes) if row.imprint_bytes else "no",
        f"{duration(time.time() - row.used)} ago",
    )


def described(row: Listed) -> dict[str, Any]:
    """A template for programs: sizes in bytes, times in RFC 3339."""
    return {**row._asdict(), "created": timestamp(row.created), "used": timestamp(row.used)}


def configure_template_rm(parser: Parser) -> None:
    """Flags of vm template rm."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="name, or beginning of a name")


def run_template_rm(arguments: Arguments, config: Config) -> int:
    """Delete templates."""
    from twinhull.engine import templates

    engine = prepared(config)
    return each(arguments.names, lambda name: templates.remove(engine.home, name))


def configure_kernel_build(parser: Parser) -> None:
    """Flags of vm kernel build."""
    add = parser.add_argument
    add("--background", action="store_true", help="return at once; vm kernel ls shows how far it is")
    add("--jobs", "-j", type=count, default=0, metavar="N", help="compilers at a time (default: one a processor)")


def run_kernel_build(arguments: Arguments, config: Config) -> int:
    """Build, and print the kernel's name."""
    import os

    from twinhull.engine import kernels, life

    engine = prepared(config)
    life.require_root(engine.home)
    if arguments.background:
        kernels.build_behind(engine.home, jobs=arguments.jobs)
        print("a kernel is being built: twinhull vm kernel ls shows how far it is", file=sys.stderr)
        return 0
    made = kernels.build(engine.home, jobs=arguments.jobs)
    print(os.path.basename(made.directory))
    return 0


def configure_kernel_ls(parser: Parser) -> None:
    """Flags of vm kernel ls."""
    add_format(parser)


def run_kernel_ls(arguments: Arguments, config: Config) -> int:
    """List kernels, and the build that runs or went wrong."""
    from twinhull.engine import kernels

    kernels.clear_left(config)
    listed, build = kernels.everything(config), kernels.current_build(config)
    if arguments.format == "json":
        now = {**build._asdict(), "began": timestamp(build.began)} if build else None
        print(document({"kernels": [row._asdict() for row in listed], "build": now}))
        return 0
    rows = [(row.name, row.release, row.origin, size(row.disk_bytes), "yes" if row.used else "") for row in listed]
    print(table(("NAME", "RELEASE", "ORIGIN", "SIZE", "USED"), rows))
    if build:
        print(told(build))
    return 0


def told(build: Build) -> str:
    """A build in one line."""
    since = duration(time.time() - build.began)
    if build.running:
        return f"building for {since}: {build.step}"
    return f"the build of {since} ago failed: {build.step} ({build.log})"


def configure_kernel_use(parser: Parser) -> None:
    """Flags of vm kernel use."""
    parser.add_argument("name", metavar="NAME", help="name, beginning of a name, or distribution")


def run_kernel_use(arguments: Arguments, config: Config) -> int:
    """Choose a kernel and print its name."""
    from twinhull.engine import kernels

    print(kernels.use(prepared(config).home, arguments.name))
    return 0


def configure_kernel_rm(parser: Parser) -> None:
    """Flags of vm kernel rm."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="name, or beginning of a name")


def run_kernel_rm(arguments: Arguments, config: Config) -> int:
    """Delete kernels."""
    from twinhull.engine import kernels

    engine = prepared(config)
    return each(arguments.names, lambda name: kernels.remove(engine.home, name))
