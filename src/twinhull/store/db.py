"""The one SQLite file: intent and resources, never state.

Promise: what a committed transaction says survives a crash of the machine; no transaction of ours
spans a call that can block.
"""

from __future__ import annotations

import sys

from twinhull.errors import MAKE_ROOM, HostUnfit
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from sqlite3 import Connection
    from typing import Any

# 2: an instance's accelerator; 3: several networks, each with its own settings; 4: their IPv6; 5: snapshots
SCHEMA_VERSION = 5
BUSY_TIMEOUT_S = 30.0
BROKEN = ("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_CANTOPEN", "SQLITE_CANTOPEN_ISDIR")


class DatabaseFull(HostUnfit):
    """The file system has no room for what was to be written down; nothing of it was."""


def connect(path: str, schema: Callable[[int], str]) -> Connection:
    """Open the database; make it if it is new, and bring one of an earlier version up to date.

    Args:
        schema: gives the statements that lead from a version to ours, 0 being an empty file; asked only then.

    Raises:
        HostUnfit: a later version of ours made it, or it is broken.
    """
    sqlite = driver()
    try:
        connection: Connection = sqlite.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            create(connection, schema)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    except sqlite.DatabaseError as error:
        if refused := broken(path, error):
            raise refused from error
        raise
    return connection


def broken(path: str, error: BaseException) -> HostUnfit | None:
    """What a user is told where SQLite cannot read the file; None for any other error."""
    if getattr(error, "sqlite_errorname", "") not in BROKEN:
        return None
    return HostUnfit(
        f"{path}, the list of images, workloads and networks, cannot be read: {error}",
        hint=f"put a copy of it back, or begin anew: mv {path} {path}.broken (images are fetched again, "
        "networks are forgotten, named volumes stay; twinhull ps then tells of the workloads that it does not know)",
    )


def driver() -> Any:
    """Return the C module below sqlite3: the package around it imports datetime and adapters, 2 ms.

    It imports functools, 5 ms with what that imports, for lru_cache alone, and that is in C as well: where nobody
    has imported functools yet, a module with nothing else stands in for it meanwhile.
    """
    if "functools" in sys.modules:
        import _sqlite3

        return _sqlite3
    stand_in: Any = type(sys)("functools")
    stand_in.lru_cache = lru_cache
    sys.modules["functools"] = stand_in
    try:
        import _sqlite3
    finally:
        del sys.modules["functools"]
    return _sqlite3


def lru_cache(size: int) -> Callable[[Callable[..., Any]], Any]:
    """functools.lru_cache as far as _sqlite3 needs it, for the statements of a connection."""
    from _functools import _lru_cache_wrapper  # type: ignore[import-not-found]  # has no stub

    return lambda function: _lru_cache_wrapper(function, size, False, tuple)


def create(connection: Connection, schema: Callable[[int], str]) -> None:
    """Make the tables or complete them; of several commands that find none, one does it."""
    connection.execute("PRAGMA journal_mode=WAL")
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise HostUnfit("this state was made by a later twinhull", hint="update twinhull, or set TWINHULL_ROOT")
        for statement in schema(version).split(";\n"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


@contextmanager
def transaction(connection: Connection, *, durable: bool = True) -> Iterator[None]:
    """One write transaction, rolled back if the block raises.

    Args:
        durable: wait until the disk has it. Without, a crash of the machine (not of a process) may
            lose it: right for what no reboot survives anyway.
    """
    if not durable:
        connection.execute("PRAGMA synchronous=NORMAL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if is_full(error):
            raise DatabaseFull("no space left for the database", hint=MAKE_ROOM) from error
        raise
    finally:
        if not durable:
            connection.execute("PRAGMA synchronous=FULL")


def is_full(error: BaseException) -> bool:
    """True for what SQLite raises when its file cannot grow."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
