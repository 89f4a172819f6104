"""Rows of snapshots: machines as they were at one moment. What a copy of one is comes from here, not from its files.

Promise: a snapshot that has a row is whole on the disk, and its files are those that the row has the sums of.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.errors import Conflict, NotFound
from twinhull.store.instances import from_row, row_of
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import Any

    from twinhull.model import Instance

SCHEMA = """
CREATE TABLE snapshot (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    tag TEXT NOT NULL,
    created REAL NOT NULL,
    image_digest TEXT NOT NULL,
    instance TEXT NOT NULL,
    template TEXT NOT NULL,
    template_digest TEXT NOT NULL,
    sums TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    UNIQUE (name, tag)
)
"""
CHANGES = {4: SCHEMA}
COLUMNS = "id,name,tag,created,instance,template,template_digest,sums,size_bytes"


class Snapshot(NamedTuple):
    """One snapshot.

    Attributes:
        name: of the workload, as it was then.
        instance: its row, as it was then.
        template, template_digest: what its pages go over, by name and content.
        sums: file -> what it must be.
    """

    id: str
    name: str
    tag: str
    created: float
    instance: Instance
    template: str
    template_digest: str
    sums: dict[str, str]
    size_bytes: int

    @property
    def reference(self) -> str:
        """What users call it."""
        return f"{self.name}:{self.tag}"


def insert(db: Connection, snapshot: Snapshot) -> None:
    """Add a row.

    Raises:
        Conflict: the name has this tag already.
    """
    check_free(db, snapshot.name, snapshot.tag)
    values = (
        *snapshot[:4],
        snapshot.instance.image_digest,
        jsontext.dumps(row_of(snapshot.instance)),
        snapshot.template,
        snapshot.template_digest,
        jsontext.dumps(snapshot.sums),
        snapshot.size_bytes,
    )
    db.execute(f"INSERT INTO snapshot VALUES ({','.join('?' * len(values))})", values)


def check_free(db: Connection, name: str, tag: str) -> None:
    """Refuse a tag that the name has.

    Raises:
        Conflict: it has.
    """
    if db.execute("SELECT 1 FROM snapshot WHERE name=? AND tag=?", (name, tag)).fetchone():
        raise Conflict(
            f"there is a snapshot {name}:{tag}", hint=f"twinhull snapshot rm {name}:{tag}, or choose another tag"
        )


def find(db: Connection, reference: str) -> Snapshot:
    """The snapshot NAME:TAG.

    Raises:
        NotFound: there is none.
    """
    name, _, tag = reference.rpartition(":")
    row = db.execute(f"SELECT {COLUMNS} FROM snapshot WHERE name=? AND tag=?", (name, tag)).fetchone()
    if row is None:
        raise NotFound(f"no such snapshot: {reference}", hint="twinhull snapshot ls lists them, as NAME:TAG")
    return snapshot_from(row)


def everything(db: Connection) -> list[Snapshot]:
    """All of them, newest first."""
    return [snapshot_from(row) for row in db.execute(f"SELECT {COLUMNS} FROM snapshot ORDER BY created DESC")]


def snapshot_from(row: tuple[Any, ...]) -> Snapshot:
    """Return the values of one row."""
    instance, sums = from_row(tuple(jsontext.loads(row[4]))), jsontext.loads(row[7])
    return Snapshot._make((*row[:4], instance, *row[5:7], sums, row[8]))


def is_known(db: Connection, identity: str) -> bool:
    """True if there is a row."""
    return db.execute("SELECT 1 FROM snapshot WHERE id=?", (identity,)).fetchone() is not None


def delete(db: Connection, identity: str) -> None:
    """Remove a row."""
    db.execute("DELETE FROM snapshot WHERE id=?", (identity,))


def of_image(db: Connection, digest: str) -> list[str]:
    """What the snapshots of workloads of an image are called."""
    return [
        f"{name}:{tag}" for name, tag in db.execute("SELECT name, tag FROM snapshot WHERE image_digest=?", (digest,))
    ]
