"""exec and attach: the foreground ends on something that runs already."""

from __future__ import annotations

from twinhull.cli.foreground import attach, check_keys
from twinhull.cli.parser import REMAINDER
from twinhull.cli.progress import prepared
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def configure_exec(parser: Parser) -> None:
    """Flags of exec."""
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="pass stdin on")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("-it", "-ti", action="store_true", dest="both", help="-i and -t")
    add("-d", "--detach", action="store_true", help="do not wait for it")
    add("-e", "--env", action="append", default=[], metavar="K=V", help="set a variable")
    add("--env-file", action="append", default=[], metavar="F", help="read variables from a file")
    add("-u", "--user", default="", metavar="USER", help="name or uid, with :group")
    add("-w", "--workdir", default="", metavar="DIR", help="working directory")
    add("--privileged", action="store_true", help="give it every capability")
    add("--detach-keys", default="", metavar="KEYS", help="leaves it running (default: ctrl-p,ctrl-q)")
    add("name", metavar="NAME")
    add("command", nargs=REMAINDER, metavar="CMD")


def run_exec(arguments: Arguments, config: Config) -> int:
    """Start the process and become its foreground end."""
    import os

    from twinhull.cli.foreground import terminal_size
    from twinhull.cli.run import environment
    from twinhull.engine.execute import STREAM, ExecRequest

    check_keys(arguments.detach_keys)
    tty, stdin = arguments.tty or arguments.both, arguments.interactive or arguments.both
    if tty and stdin and not arguments.detach and not os.isatty(0):
        raise InvalidRequest("the input device is not a TTY", hint="leave -t out when stdin is a pipe or a file")
    request = ExecRequest(
        tuple(arguments.command),
        environment(arguments),
        arguments.user,
        arguments.workdir,
        tty,
        stdin,
        arguments.privileged,
    )
    engine = prepared(config)
    if arguments.detach:
        engine.exec_detached(arguments.name, request)
        return 0
    conversation = engine.exec_attached(arguments.name, request, size=terminal_size(tty))
    return attach(config, conversation, stream=STREAM, tty=tty, stdin=stdin, detach_keys=arguments.detach_keys)


def configure_attach(parser: Parser) -> None:
    """Flags of attach."""
    parser.add_argument("--no-stdin", action="store_true", help="only watch")
    parser.add_argument("--detach-keys", default="", metavar="KEYS", help="leaves it running (default: ctrl-p,ctrl-q)")
    parser.add_argument(
        "--sig-proxy", choices=("true", "false"), default="true", help="pass signals on (default: true)"
    )
    parser.add_argument("name", metavar="NAME")


def run_attach(arguments: Arguments, config: Config) -> int:
    """Connect to the main process's streams."""
    from twinhull.plan.frames import Flag, Kind
    from twinhull.store.instances import request_from

    check_keys(arguments.detach_keys)
    engine = prepared(config)
    instance = engine.find(arguments.name)
    request = request_from(instance.request)
    stdin = request.interactive and not arguments.no_stdin
    conversation = engine.attach(arguments.name)
    conversation.send(Kind.ATTACH, 0, b"", Flag.STDIN_OPEN if stdin else 0)
    return attach(
        config,
        conversation,
        tty=request.tty,
        stdin=stdin,
        detach_keys=arguments.detach_keys,
        # Who watches a machine's console and is ended must not end the machine.
        proxy=arguments.sig_proxy == "true" and instance.isolation != "machine",
    )
