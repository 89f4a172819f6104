"""start, restart, stop, kill, wait, rm: each takes several workloads and goes on after a failure."""

from __future__ import annotations

import sys

from twinhull.cli.progress import prepared
from twinhull.errors import InvalidRequest, NotFound, TwinhullError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def each(names: Iterable[str], act: Callable[[str], object], *, show: bool = True) -> int:
    """Act on each name; say it when it worked, say why when not; the worst exit code.

    Args:
        act: returns False of a name that there was nothing to do for.
    """
    return max([attempt(name, act, show=show) for name in names], default=0)


def each_at_once(names: list[str], act: Callable[[str], object]) -> int:
    """The same for what mostly waits: all names at the same time, so `act` has an engine of its own for each."""
    if len(names) == 1:
        return each(names, act)
    import threading

    codes = [0] * len(names)

    def work(index: int) -> None:
        codes[index] = attempt(names[index], act)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(codes)


def show_each(names: list[str], look: Callable[[str], Any]) -> int:
    """Print a JSON list of what there is of each name."""
    from twinhull.cli.render import document

    found: list[Any] = []
    code = each(names, lambda name: found.append(look(name)), show=False)
    print(document(found))
    return code


def attempt(name: str, act: Callable[[str], object], *, show: bool = True) -> int:
    """Act on one name: 1 if it failed."""
    try:
        done = act(name) is not False
    except TwinhullError as error:
        hint = f"\n  hint: {error.hint}" if error.hint else ""
        print(f"twinhull: {error.message}{hint}", file=sys.stderr)
        return 1
    if show and done:
        print(name, flush=True)
    return 0


def confirmed(question: str) -> bool:
    """Ask on the terminal; anything but yes is no.

    Raises:
        InvalidRequest: nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise InvalidRequest("nobody can be asked: stdin is no terminal", hint="--force does it without asking")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def add_names(parser: Parser) -> None:
    """The positional workloads."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="name, id, or beginning of an id")


def seconds(text: str) -> float:
    """A time to wait.

    Raises:
        InvalidRequest: no number, or a negative one.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0:
        raise InvalidRequest(f"invalid time {text!r}", hint="seconds, 0 or more")
    return value


def add_time(parser: Parser) -> None:
    """The flag -t."""
    parser.add_argument(
        "-t", "--time", type=seconds, default=None, metavar="S", help="seconds before it is killed (10)"
    )


def configure_start(parser: Parser) -> None:
    """Flags of start."""
    parser.add_argument("-a", "--attach", action="store_true", help="show its output and end with its status")
    parser.add_argument("-i", "--interactive", action="store_true", help="pass stdin on (with -a)")
    parser.add_argument(
        "--boot",
        action="store_true",
        help="what the restart policies always and unless-stopped have running, after a boot",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="name, id, or beginning of an id")


def run_start(arguments: Arguments, config: Config) -> int:
    """Start workloads, or one of them in the foreground."""
    from twinhull.cli.foreground import attach, terminal_size
    from twinhull.store.instances import request_from

    if arguments.boot == bool(arguments.names):
        raise InvalidRequest("start takes workloads, or --boot", hint="twinhull ps -a lists them")
    engine = prepared(config)
    if not arguments.attach:
        names = engine.live.due_at_boot() if arguments.boot else arguments.names
        return each(names, lambda name: engine.start(name).close())
    if len(arguments.names) != 1:
        raise InvalidRequest("-a takes one workload", hint="start the others without -a")
    name = arguments.names[0]
    instance = engine.find(name)
    request = request_from(instance.request)
    stdin = arguments.interactive and request.interactive
    conversation = engine.start(name, size=terminal_size(request.tty), stdin=stdin)
    return attach(config, conversation, tty=request.tty, stdin=stdin, proxy=instance.isolation != "machine")


def configure_restart(parser: Parser) -> None:
    """Flags of restart."""
    add_time(parser)
    add_names(parser)


def run_restart(arguments: Arguments, config: Config) -> int:
    """Stop and start again."""
    engine = prepared(config)
    return each(arguments.names, lambda name: engine.restart(name, timeout_s=arguments.time))


def configure_stop(parser: Parser) -> None:
    """Flags of stop."""
    add_time(parser)
    parser.add_argument("-s", "--signal", default="", help="the signal to send first (the image's, else TERM)")
    add_names(parser)


def run_stop(arguments: Arguments, config: Config) -> int:
    """Ask to end."""

    def stop(name: str) -> None:
        prepared(config).stop(name, signal=arguments.signal, timeout_s=arguments.time)

    return each_at_once(arguments.names, stop)


def configure_kill(parser: Parser) -> None:
    """Flags of kill."""
    parser.add_argument("-s", "--signal", default="KILL", help="name or number (default: KILL)")
    add_names(parser)


def run_kill(arguments: Arguments, config: Config) -> int:
    """Send a signal."""
    engine = prepared(config)
    return each(arguments.names, lambda name: engine.kill(name, arguments.signal))


def configure_wait(parser: Parser) -> None:
    """Flags of wait."""
    add_names(parser)


def run_wait(arguments: Arguments, config: Config) -> int:
    """Print the exit codes."""
    engine = prepared(config)
    return each(arguments.names, lambda name: print(engine.wait(name).code, flush=True), show=False)


def configure_rm(parser: Parser) -> None:
    """Flags of rm."""
    parser.add_argument("-f", "--force", action="store_true", help="kill it if it runs; a missing one is fine")
    parser.add_argument("-v", "--volumes", action="store_true", help="and its volumes that have no name of their own")
    add_names(parser)


def run_rm(arguments: Arguments, config: Config) -> int:
    """Delete workloads."""
    engine = prepared(config)

    def remove(name: str) -> bool:
        try:
            engine.remove(name, force=arguments.force, volumes=arguments.volumes)
        except NotFound:
            if not arguments.force:
                raise
            return False
        return True

    return each(arguments.names, remove)
