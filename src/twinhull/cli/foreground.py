"""The foreground: Python leaves, the launcher's `attach` takes the conversation over."""

from __future__ import annotations

import os

from twinhull import imports
from twinhull.config import Config
from twinhull.errors import InvalidRequest
from twinhull.host.spawn import become
from twinhull.runtime.container import launcher_path
from twinhull.runtime.sandbox import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from twinhull.model import Request

CONTROL = "abcdefghijklmnopqrstuvwxyz@[\\]^_"
MAX_KEYS = 16  # launcher/keys.h


def check_keys(text: str) -> None:
    """Refuse a detach sequence that the launcher would not take, before anything is started.

    Raises:
        InvalidRequest: not a list of single characters and ctrl-X.
    """
    keys = text.split(",") if text else []
    good = all(len(key) == 1 or (len(key) == 6 and key.startswith("ctrl-") and key[5] in CONTROL) for key in keys)
    if not good or len(keys) > MAX_KEYS:
        raise InvalidRequest(f"invalid --detach-keys {text!r}", hint="single characters or ctrl-X, as ctrl-p,ctrl-q")


def attach(
    config: Config,
    conversation: Sandbox,
    *,
    stream: int = 0,
    tty: bool = False,
    stdin: bool = False,
    detach_keys: str = "",
    proxy: bool = True,
) -> NoReturn:
    """Become the client of a conversation; ends with the process's status."""
    fd = os.dup(conversation.connection.fileno())
    argv = ["twinhull-attach", "attach", "--fd", str(fd)]
    if stream:
        argv += ["--stream", str(stream)]
    if tty:
        argv.append("--tty")
    if stdin:
        argv.append("--stdin")
    if detach_keys:
        argv += ["--detach-keys", detach_keys]
    if not proxy:
        argv.append("--no-sig-proxy")
    imports.keep()
    become(launcher_path(config.launcher), argv, keep=(fd,))


def terminal_size(wanted: bool) -> tuple[int, int]:
    """(rows, columns) of our terminal, for a workload that gets one."""
    for fd in (0, 1, 2) if wanted else ():
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        return rows, columns
    return 0, 0


def require_terminal(request: Request) -> None:
    """-t without a terminal of our own to pass on.

    Raises:
        InvalidRequest: stdin is none.
    """
    if request.tty and request.interactive and not os.isatty(0):
        raise InvalidRequest("the input device is not a TTY", hint="leave -t out when stdin is a pipe or a file")
