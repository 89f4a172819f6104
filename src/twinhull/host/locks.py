"""flock, the only lock between processes: it ends with its holder, however that ends."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock

from twinhull.errors import Conflict
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def locked(path: str, *, shared: bool = False, wait: bool = True, busy: str = "") -> Iterator[int]:
    """Hold the lock of a file (made if missing) and give its descriptor.

    Raises:
        Conflict: `wait` is false and another process holds it; `busy` is the message.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            flock(fd, (LOCK_SH if shared else LOCK_EX) | (0 if wait else LOCK_NB))
        except BlockingIOError:
            raise Conflict(busy or f"{path} is locked by another command") from None
        yield fd
    finally:
        os.close(fd)


def is_held(path: str) -> bool:
    """True if some process holds the lock of this file. Absent is not held."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        flock(fd, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
