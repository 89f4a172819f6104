"""Network namespaces of this thread, by setns(2)."""

from __future__ import annotations

import ctypes
import os

from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """Let this thread live in another network namespace."""
    here = own_namespace()
    try:
        call("setns", fd, CLONE_NEWNET)
        try:
            yield
        finally:
            call("setns", here, CLONE_NEWNET)
    finally:
        os.close(here)


def own_namespace() -> int:
    """Return a descriptor of this thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def call(name: str, *arguments: int) -> None:
    """Call a function of the C library that Python 3.11 does not have (os.setns is 3.12)."""
    if ctypes.CDLL(None, use_errno=True)[name](*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
