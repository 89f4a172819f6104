"""A process that lets a machine go on if whoever has it stopped is killed, by whatever signal.

Promise: it is there before the machine is stopped, and it ends with the block that it guards.
"""

from __future__ import annotations

import os

from twinhull.errors import HostUnfit
from twinhull.host.spawn import spawn
from twinhull.runtime import sandbox
from twinhull.runtime.container import launcher_path
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterator

MAKER_FD, DIRECTORY_FD = 3, 4  # launcher/guard.c


@contextmanager
def guarded(configured: str, directory: str) -> Iterator[None]:
    """Have the machine of an instance directory go on when the block is left other than at its end.

    Args:
        configured: as for `launcher_path`.

    Raises:
        HostUnfit: there can be no such process.
    """
    conversation, theirs = sandbox.pair()
    ours = conversation.connection
    try:
        pid = start(configured, directory, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    try:
        if not ours.recv(1):
            raise HostUnfit("the process that guards a stopped virtual machine did not start")
        yield
        ours.send(b"d")
    finally:
        ours.close()
        os.waitpid(pid, 0)


def start(configured: str, directory: str, theirs: socket) -> int:
    """Start it and return its pid."""
    directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptors = {MAKER_FD: theirs.fileno(), DIRECTORY_FD: directory_fd}
        return spawn(launcher_path(configured), ["twinhull-guard", "guard"], descriptors)
    finally:
        os.close(directory_fd)
