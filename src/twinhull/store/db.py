"""The one SQLite file: intent and resources, never state.

Promise: what a committed transaction says survives a crash of the machine; no transaction of ours
spans a call that can block.
"""

from __future__ import annotations

from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from sqlite3 import Connection

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0


def connect(path: str, schema: Callable[[], str]) -> Connection:
    """Open the database and make it if it is new.

    Args:
        schema: gives the CREATE statements of every table, asked for only when there is none.
    """
    # The C module itself: the package around it imports datetime and collections.abc adapters (2 ms).
    from _sqlite3 import connect as open_database

    connection: Connection = open_database(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        create(connection, schema())
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def create(connection: Connection, statements: str) -> None:
    """Make the tables; of several commands that find none, one does it."""
    connection.execute("PRAGMA journal_mode=WAL")
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        for statement in statements.split(";\n"):
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
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    if not durable:
        connection.execute("PRAGMA synchronous=FULL")
