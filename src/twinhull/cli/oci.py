"""`twinhull-oci`: the command line that containerd, CRI-O, Podman and dockerd call.

Exit codes: 1 for every error, 255 where `exec` could not start the process; `run` and `exec` end with the status of
their process. Errors go to --log, where callers read them, and as plain text to stderr.

Promise: start, state, kill and delete import nothing beyond JSON.
"""

from __future__ import annotations

import os
import sys
from gc import set_threshold

from twinhull import imports
from twinhull.cli.oci_options import GLOBAL, Options, parse, usage, verb_options
from twinhull.errors import CommandNotExecutable, CommandNotFound, HostUnfit, InvalidRequest, TwinhullError
from twinhull.host.facts import is_rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

FAILED, EXEC_FAILED = 1, 255
COLLECT_AFTER = 50_000  # objects, as in cli/main.py
EISDIR = 21  # the import of errno would be one more at each start
INIT = "init"  # what launcher/front.c tells of the child that it started: descriptor:pid
LOG_LEVELS = ("debug", "info", "warning", "error", "warn", "fatal", "panic", "trace")
ROOTLESS = ("auto", "true", "false", "1", "0", "t", "f")
DEFAULT_ROOT = "/run/twinhull-oci"
MODULES = {
    **dict.fromkeys(("create", "run", "exec"), "oci_containers"),
    **dict.fromkeys(("start", "state", "kill", "delete", "pause", "resume"), "oci_life"),
    **dict.fromkeys(("checkpoint", "restore"), "oci_checkpoint"),
    **dict.fromkeys(("ps", "update", "events", "list", "features", "spec"), "oci_reports"),
}


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and end the process."""
    set_threshold(COLLECT_AFTER)
    imports.begin()
    code = guarded(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError):  # None: our caller closed it
            pass
    if not code:
        imports.keep()
    os._exit(code)


def guarded(words: list[str]) -> int:
    """Run the command; the one place where exceptions become exit codes."""
    options, verb = Options(), ""
    try:
        options, rest = parse("", {**GLOBAL, INIT: "value"}, words)
        verb = rest[0] if rest else "help"
        return dispatch(options, verb, rest[1:])
    except TwinhullError as error:
        report(options, "error", text_of(error))
    except OSError as error:
        report(options, "error", f"{error.strerror}{f': {error.filename}' if error.filename else ''}")
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if options.flag("debug"):
            raise
        report(options, "error", f"{type(error).__name__}: {error} (a bug; --debug shows where)")
    finally:
        dismiss(options)
    return EXEC_FAILED if verb == "exec" else FAILED


def dismiss(options: Options) -> None:
    """Let a `launcher init` end that was given nothing to do."""
    fd, _, pid = options.value(INIT).partition(":")
    if pid:
        try:
            os.close(int(fd))
            os.waitpid(int(pid), 0)
        except (OSError, ValueError):
            pass


def text_of(error: TwinhullError) -> str:
    """The words that callers look for."""
    if isinstance(error, CommandNotFound):
        path = error.target
        if "/" in path:
            return f'exec: "{path}": stat {path}: no such file or directory'
        return f'exec: "{path}": executable file not found in $PATH'
    if isinstance(error, CommandNotExecutable):
        reason = os.strerror(error.errno).lower()
        if error.errno == EISDIR:
            reason += ": permission denied"  # what execve says of one; Podman looks for it, dockerd for either
        return f'exec: "{error.target}": {reason}'
    return error.message.replace(" : ", ": ")  # an op without a target


def report(options: Options, level: str, message: str, *, shown: bool = True) -> None:
    """Write to the log and, as plain text, to stderr; to the log alone what a caller would see at each of its runs."""
    from time import gmtime, strftime

    moment = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    if options.value("log-format") == "json":
        from twinhull import jsontext

        line = jsontext.dumps({"level": level, "msg": message, "time": moment})
    else:
        quoted = message.replace("\\", "\\\\").replace('"', '\\"')
        line = f'time="{moment}" level={level} msg="{quoted}"'
    path = options.value("log").removeprefix("file:")
    if path and path != "/dev/stderr":
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            print(f"{path}: {error.strerror}", file=sys.stderr)
        else:
            os.write(fd, line.encode() + b"\n")
            os.close(fd)
    if shown:
        print(message if level == "error" else f"{level}: {message}", file=sys.stderr)


def dispatch(options: Options, verb: str, words: list[str]) -> int:
    """Find the verb's module and let it run."""
    if options.value("log-format") not in ("", "text", "json"):
        raise InvalidRequest(f"--log-format: {options.value('log-format')!r} is neither text nor json")
    if options.flag("version") or verb == "version":
        return show_version()
    if verb in ("help", "--help", "-h") or options.flag("help"):
        print(usage())
        return 0
    if verb not in MODULES:
        raise InvalidRequest(f"no such command: {verb}")
    check_words(options)
    check_cgroup_manager(options)
    given, rest = parse(verb, verb_options(verb), words)
    if given.flag("help"):
        print(usage(verb))
        return 0
    module = __import__(f"twinhull.cli.{MODULES[verb]}", fromlist=["run"])
    act: Callable[[Options, Options, list[str]], int] = getattr(module, f"run_{verb}")
    return act(options, given, rest)


def check_words(options: Options) -> None:
    """Refuse words that runc does not know, either.

    Raises:
        InvalidRequest: the option has another.
    """
    for option, known in (("log-level", LOG_LEVELS), ("rootless", ROOTLESS)):
        if (word := options.value(option)) and word.lower() not in known:
            raise InvalidRequest(f"--{option}: {word!r} is none of {', '.join(known)}")


def check_cgroup_manager(options: Options) -> None:
    """cgroupfs, or disabled: crun's words, and runc's flag for the one that is not there.

    Raises:
        InvalidRequest: it is neither.
        HostUnfit: it is systemd.
    """
    manager = options.value("cgroup-manager")
    if manager not in ("", "cgroupfs", "systemd", "disabled"):
        raise InvalidRequest(f"--cgroup-manager: {manager!r} is none of cgroupfs, systemd and disabled")
    if manager == "systemd" or options.flag("systemd-cgroup"):
        option = f"--cgroup-manager {manager}" if manager else "--systemd-cgroup"
        raise HostUnfit(f"{option}: the systemd cgroup driver is not there yet: use cgroupfs")


def root_of(options: Options) -> str:
    """The directory of all containers."""
    root = options.value("root")
    if not root:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        own = runtime and (os.geteuid() or is_rootless())
        if not own and os.geteuid():
            raise HostUnfit("XDG_RUNTIME_DIR is not set, below which a user's containers are: set it, or give --root")
        root = f"{runtime}/twinhull-oci" if own else DEFAULT_ROOT
    return os.path.abspath(root)


def identity_of(words: list[str]) -> str:
    """The only argument of a verb.

    Raises:
        InvalidRequest: there is none, or more.
    """
    if len(words) != 1:
        raise InvalidRequest(f"exactly one container id is needed, not {len(words)} arguments")
    return words[0]


def show_version() -> int:
    """The first word is what containerd looks for in whatever stands in for runc."""
    from twinhull import __version__
    from twinhull.oci.spec import OCI_VERSION

    print(f"runc version 1.2.0 (twinhull-oci {__version__})\ncommit: {__version__}\nspec: {OCI_VERSION}")
    return 0
