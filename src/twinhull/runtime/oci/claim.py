"""The directory of a new container: what a maker that was killed left of one of that id goes first."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock

from twinhull.errors import Conflict, NotFound
from twinhull.host import files
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.launcher import undo
from twinhull.runtime.oci.life import stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def claim(root: str, identity: str, warn: Callable[[str], None]) -> None:
    """Make the directory of a new container; what a maker that was killed left of one of that id goes first.

    Raises:
        Conflict: the id is in use.
    """
    directory = records.directory(root, identity)
    files.make_directory(root, 0o711)
    for last in (False, True):
        try:
            os.mkdir(directory, 0o700)
            return
        except FileExistsError:
            if last or not cleared(root, identity, warn):
                raise Conflict(f"container with id exists: {identity}") from None


def cleared(root: str, identity: str, warn: Callable[[str], None]) -> bool:
    """Remove what is left of a container that was never complete; False if it is, or if somebody works on it."""
    directory = records.directory(root, identity)
    try:
        lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        require_directory(lock, identity)
        record = records.load(root, identity)
        if record.pid:
            return False
        undo(directory)
        stopped(root, record, warn)
        files.remove_tree(directory)
    except (BlockingIOError, Conflict, NotFound):
        return False
    finally:
        os.close(lock)
    return True


def require_directory(lock: int, identity: str) -> None:
    """Look whether a lock is still one: until it was ours, somebody may have removed the directory.

    Raises:
        Conflict: it is in no directory any more.
    """
    if not os.fstat(lock).st_nlink:
        raise Conflict(f"container with id exists: {identity}")
