"""Room that is set aside, so that on a full disk what takes it can still be removed."""

from __future__ import annotations

import os
from contextlib import suppress

from twinhull.host import files

NAME = "reserve"
# More than the pages of the database that a few removals touch, and what one touches.
MOST_BYTES, LEAST_BYTES = 256 << 10, 32 << 10


def keep(state: str) -> None:
    """Set it aside if it is not, as much as there is room for; without any there is none."""
    path = f"{state}/{NAME}"
    with suppress(OSError):
        if os.path.exists(path) and os.path.getsize(path) >= LEAST_BYTES:
            return
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not allocate(fd):
                files.remove_file(path)
        finally:
            os.close(fd)


def allocate(fd: int) -> bool:
    """Give a file the largest size that can be had; False for none."""
    size = MOST_BYTES
    while size >= LEAST_BYTES:
        try:
            os.posix_fallocate(fd, 0, size)
            return True
        except OSError:
            size //= 2
    return False


def spend(state: str) -> None:
    """Give it."""
    files.remove_file(f"{state}/{NAME}")
