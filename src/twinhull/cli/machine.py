"""`twinhull machine …`: full guest operating systems, beside containers and virtual machines.

What a machine shares with every workload is the other verbs' code: these take machines alone, and say so.
"""

from __future__ import annotations

import sys

from twinhull.cli import control, logs, ps, stack
from twinhull.cli.arguments import memory_bytes
from twinhull.cli.parser import given
from twinhull.cli.progress import prepared
from twinhull.errors import InvalidRequest, NotFound
from twinhull.model import Instance, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.engine import Engine


def configure_create(parser: Parser) -> None:
    """Flags of machine create."""
    add = parser.add_argument
    add(
        "--disk",
        type=given,
        default=None,
        metavar="FILE",
        help="a qcow2 file with an operating system; it is never written",
    )
    add("--debian", action="store_true", help="a Debian made of this host's package sources (once: a minute or two)")
    add("--memory", "-m", type=memory, default=0, metavar="M", help="memory of the machine (default: 512m)")
    add("--cpus", type=processors, default=1, metavar="N", help="processors of the machine (default: 1)")
    add("--network", "--net", default="bridge", metavar="NET", help="none, or bridge (default)")
    add("-p", "--publish", action="append", default=[], metavar="[IP:]HOST:PORT", help="publish a port on the host")
    add("name", type=given, metavar="NAME")


def run_create(arguments: Arguments, config: Config) -> int:
    """Create and print the id."""
    from twinhull.cli.run import published

    if bool(arguments.disk) == arguments.debian:
        raise InvalidRequest("a machine needs one disk", hint="--disk FILE.qcow2, or --debian")
    request = Request(
        "",
        name=arguments.name,
        memory_bytes=arguments.memory,
        cpus=float(arguments.cpus),
        network=arguments.network,
        ports=published(arguments.publish),
    )
    with prepared(config) as engine:
        print(engine.create_machine(arguments.disk or "", request).id)
    return 0


def memory(text: str) -> int:
    """The memory of a machine in bytes.

    Raises:
        InvalidRequest: no size, or none at all.
    """
    if not (value := memory_bytes(text)):
        raise InvalidRequest(f"--memory {text}: too little for an operating system", hint="512m if left out")
    return value


def processors(text: str) -> int:
    """A number of processors.

    Raises:
        InvalidRequest: no whole number, or more than this host has.
    """
    import os

    available = os.cpu_count() or 1
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= available):
        raise InvalidRequest(f"--cpus {text}: a machine here has 1 to {available}", hint="a whole number")
    return int(text)


def find(engine: Engine, name: str) -> Instance:
    """The machine of this name.

    Raises:
        NotFound: there is none, or another workload has the name.
    """
    instance = engine.find(name)
    if instance.isolation != "machine":
        raise NotFound(
            f"{name} is a {instance.isolation}, not a machine", hint=f"the same verb without `machine`: {name}"
        )
    return instance


def check(config: Config, names: Iterable[str], *, missing_is_fine: bool = False) -> None:
    """Refuse the names of other workloads before anything is done.

    Raises:
        NotFound: one is not a machine's.
    """
    with prepared(config, quiet=True) as engine:
        for name in names:
            try:
                find(engine, name)
            except NotFound as error:
                if not missing_is_fine or "not a machine" in error.message:
                    raise


def configure_start(parser: Parser) -> None:
    """Flags of machine start."""
    parser.add_argument("-a", "--attach", action="store_true", help="show its console from the first byte")
    parser.add_argument("--detach-keys", default="", metavar="KEYS", help="leaves it running (default: ctrl-p,ctrl-q)")
    control.add_names(parser)


def run_start(arguments: Arguments, config: Config) -> int:
    """Switch machines on, or one of them with its console."""
    from twinhull.cli.foreground import attach, check_keys, terminal_size

    check(config, arguments.names)
    if not arguments.attach:
        return control.run_start(with_defaults(arguments, interactive=False, boot=False), config)
    if len(arguments.names) != 1:
        raise InvalidRequest("--attach takes one machine", hint="start the others without it")
    check_keys(arguments.detach_keys)
    engine = prepared(config)
    conversation = engine.start(arguments.names[0], size=terminal_size(True), stdin=True)
    sys.stdout.flush()
    return attach(config, conversation, tty=True, stdin=True, detach_keys=arguments.detach_keys, proxy=False)


def with_defaults(arguments: Arguments, **values: object) -> Arguments:
    """The same arguments with those of the general verb that this one does not take."""
    for name, value in values.items():
        setattr(arguments, name, value)
    return arguments


def configure_attach(parser: Parser) -> None:
    """Flags of machine attach."""
    parser.add_argument("--no-stdin", action="store_true", help="only watch")
    parser.add_argument("--detach-keys", default="", metavar="KEYS", help="leaves it running (default: ctrl-p,ctrl-q)")
    parser.add_argument("name", metavar="NAME")


def run_attach(arguments: Arguments, config: Config) -> int:
    """Connect to the serial console."""
    from twinhull.cli.exec import run_attach as attach

    check(config, [arguments.name])
    return attach(with_defaults(arguments, sig_proxy="false"), config)


def configure_stop(parser: Parser) -> None:
    """Flags of machine stop."""
    parser.add_argument(
        "-t", "--time", type=control.seconds, default=None, metavar="S", help="seconds before it is switched off (30)"
    )
    control.add_names(parser)


def run_stop(arguments: Arguments, config: Config) -> int:
    """Press the power button."""
    check(config, arguments.names)
    return control.run_stop(with_defaults(arguments, signal=""), config)


def configure_rm(parser: Parser) -> None:
    """Flags of machine rm."""
    control.configure_rm(parser)


def run_rm(arguments: Arguments, config: Config) -> int:
    """Delete machines with what they wrote; the given disks stay as they are."""
    check(config, arguments.names, missing_is_fine=arguments.force)
    return control.run_rm(arguments, config)


def configure_ps(parser: Parser) -> None:
    """Flags of machine ps."""
    ps.configure_ps(parser)


def run_ps(arguments: Arguments, config: Config) -> int:
    """List machines alone."""
    return ps.list_workloads(arguments, config, isolation="machine")


def configure_logs(parser: Parser) -> None:
    """Flags of machine logs."""
    logs.configure_logs(parser)


def run_logs(arguments: Arguments, config: Config) -> int:
    """Print what came out of the console."""
    check(config, [arguments.name])
    return logs.run_logs(arguments, config)


def configure_stack(parser: Parser) -> None:
    """Flags of machine stack."""
    stack.configure_stack(parser)


def run_stack(arguments: Arguments, config: Config) -> int:
    """Print the layers."""
    check(config, [arguments.name])
    return stack.run_stack(arguments, config)
