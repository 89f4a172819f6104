"""The foreground: Python leaves, the launcher's `attach` takes the conversation over."""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import InvalidRequest
from twinhull.host.spawn import become
from twinhull.runtime.container import launcher_path
from twinhull.runtime.sandbox import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

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
    become(launcher_path(config.launcher), argv, keep=(fd,))
