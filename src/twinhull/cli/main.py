"""The command line: finds the verb, imports only its module, turns errors into exits.

Exit codes: the workload's own; 125 twinhull failed, a wrong command line too; 126 the program cannot
be executed, 127 there is none; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from gc import set_threshold

from twinhull import imports
from twinhull.cli.verbs import VERBS, resolve
from twinhull.errors import MAKE_ROOM, InvalidRequest, TwinhullError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from twinhull.cli.verbs import Verb

HELP = ("help", "--help", "-h")
INTERRUPTED = 130
BUG = 125
NO_SPACE, READ_ONLY = (28, 122), 30  # ENOSPC, EDQUOT; EROFS: the import of errno would be one more at each start
COLLECT_AFTER = 50_000  # objects: the imports of a start make no garbage, and looking for it took 2 ms


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and end the process: no finalisation, what matters is already written."""
    set_threshold(COLLECT_AFTER)
    words = sys.argv[1:] if argv is None else argv
    complete_streams()
    imports.begin()
    code = guarded(words)
    if lost := unwritten():
        print(f"twinhull: standard output: {lost}", file=sys.stderr)
        print("  hint: what was to be shown is lost; send it to where there is room for it", file=sys.stderr)
        code = code or BUG
    try:
        sys.stderr.flush()
    except OSError:
        pass
    if not code:
        imports.keep()
    os._exit(code)


def unwritten() -> str:
    """Why what was printed cannot be written, "" if it can; a reader that has gone wants no more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


def complete_streams() -> None:
    """Put /dev/null where our caller closed a stream, or the next descriptor that is opened becomes stdout."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: fd
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r"))


def guarded(words: list[str]) -> int:
    """Run the command; the one place where exceptions become exit codes."""
    debug = "--debug" in words[:1] or bool(os.environ.get("TWINHULL_DEBUG"))
    try:
        return dispatch(words)
    except TwinhullError as error:
        if debug:
            raise
        return said(error)
    except BrokenPipeError:
        return 128 + 13
    except OSError as error:
        if not debug and unwritten():
            return BUG  # main says it
        hint = hint_for(error)
        if debug or not hint:
            return bug(error, debug=debug)
        print(f"twinhull: {error.strerror}{f': {error.filename}' if error.filename else ''}", file=sys.stderr)
        print(f"  hint: {hint}", file=sys.stderr)
        return BUG
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else BUG
    except Exception as error:
        if not debug and (refused := broken_database(error)):
            return said(refused)
        return bug(error, debug=debug)


def said(error: TwinhullError) -> int:
    """Print what went wrong, and what can be done about it."""
    print(f"twinhull: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def broken_database(error: Exception) -> TwinhullError | None:
    """A database that is found broken in the middle of the work; None for any other error."""
    if not hasattr(error, "sqlite_errorname"):
        return None
    from twinhull.config import load
    from twinhull.store import db

    return db.broken(load().database, error)


def hint_for(error: OSError) -> str:
    """What a user can do about an error of the system, "" where it is no user's affair."""
    if error.errno in NO_SPACE:  # without a name it may be stdout as well, where Python does not buffer it
        return MAKE_ROOM if error.filename else "make room for twinhull's state, or where the output goes (df shows it)"
    if error.errno == READ_ONLY:
        return "twinhull keeps its state there: set TWINHULL_ROOT to a directory that can be written to"
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return "sudo twinhull …, or set TWINHULL_ROOT to a directory of yours"
    return ""


def bug(error: Exception, *, debug: bool) -> int:
    """Say that this should not have happened, and how to see where it did."""
    if debug:
        raise error
    print(f"twinhull: {type(error).__name__}: {error}", file=sys.stderr)
    print("  hint: this is a bug; twinhull --debug VERB … shows where it is", file=sys.stderr)
    return BUG


def dispatch(words: list[str]) -> int:
    """Find the verb's module and let it run."""
    while words and words[0] == "--debug":
        words = words[1:]
    if not words or words[0] in HELP:
        return show_help(words[1:])
    if words[0] in ("--version", "-v"):
        words = ["version"]
    verb, row, rest = resolve(words)
    if row is None:
        raise unknown(verb)
    if row.verbs and not (row.alone and rest and rest[0] not in HELP):
        return show_group(verb, row, rest)
    module = __import__(f"twinhull.cli.{row.module}", fromlist=["run"])  # importlib's function would cost 1 ms
    from twinhull.cli.arguments import make_parser

    parser = make_parser(verb, row)
    getattr(module, f"configure_{row.function}")(parser)
    arguments = parser.parse_args(rest)
    from twinhull.config import load

    config = load()
    config.mark("settings")
    if os.geteuid() != 0:
        from twinhull.cli import rootless

        rootless.prepare(verb, config)
    return int(getattr(module, f"run_{row.function}")(arguments, config))


def show_help(words: list[str]) -> int:
    """The verbs, or one verb's help."""
    if words and words[0] not in HELP:
        return dispatch([*words, "--help"])
    from twinhull.cli.arguments import overview

    print(overview())
    return 0


def show_group(name: str, row: Verb, rest: list[str]) -> int:
    """The verbs of a group, if they were asked for."""
    if rest and rest[0] not in HELP:
        raise unknown(rest[0], name, row.verbs)
    from twinhull.cli.arguments import group_overview

    print(group_overview(name, row), file=sys.stdout if rest else sys.stderr)
    return 0 if rest else BUG


def unknown(verb: str, group: str = "", known: Mapping[str, Verb] = VERBS) -> TwinhullError:
    """A word that is no command, with what was probably meant."""
    from difflib import get_close_matches

    before = f"{group} " if group else ""
    close = get_close_matches(verb, known, 1)
    hint = f"did you mean {before}{close[0]}?" if close else f"twinhull {before}--help lists the commands"
    return InvalidRequest(f"unknown command {before + verb!r}", hint=hint)
