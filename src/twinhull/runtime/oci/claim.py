"""The directory of a new container, and its lock."""

from __future__ import annotations

import os

from twinhull.errors import Conflict, NotFound
from twinhull.host import files
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.life import locked, take_away
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinhull.runtime.oci.record import Record


@contextmanager
def claimed(root: str, sketch: Record, warn: Callable[[str], None]) -> Iterator[int]:
    """Make a container's directory, hold its lock and yield it; if the block fails, everything is taken back.

    What a maker that was killed left of a container of that id goes first.

    Args:
        sketch: what is known of the container already, for the hooks of its end.

    Raises:
        Conflict: the id is in use.
    """
    claim(root, sketch.id, warn)
    with locked(root, sketch.id) as lock:
        require_directory(lock, sketch.id)
        try:
            yield lock
        except BaseException:
            take_away(root, sketch, warn)
            raise


def claim(root: str, identity: str, warn: Callable[[str], None]) -> None:
    """Make the directory of a new container."""
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
    if not os.path.exists(f"{records.directory(root, identity)}/lock"):
        return False
    try:
        with locked(root, identity, wait=False) as lock:
            require_directory(lock, identity)
            record = records.load(root, identity)
            if not record.pid:
                take_away(root, record, warn)
            return not record.pid
    except (BlockingIOError, Conflict, NotFound):
        return False


def require_directory(lock: int, identity: str) -> None:
    """Look whether a lock is still one: until it was ours, somebody may have removed the directory.

    Raises:
        Conflict: it is in no directory any more.
    """
    if not os.fstat(lock).st_nlink:
        raise Conflict(f"container with id exists: {identity}")
