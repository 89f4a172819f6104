"""Rows of workloads: what was asked for and what it holds. Their state is derived elsewhere."""

from __future__ import annotations

from twinhull import jsontext
from twinhull.errors import Conflict, NotFound
from twinhull.model import Attachment, Device, Disk, Endpoint, Health, Instance, Port, Request, Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import Any

SCHEMA = """
CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image TEXT NOT NULL,
    image_digest TEXT NOT NULL,
    isolation TEXT NOT NULL,
    created REAL NOT NULL,
    command TEXT NOT NULL,
    request TEXT NOT NULL,
    started REAL NOT NULL DEFAULT 0,
    boot_id TEXT NOT NULL,
    endpoints TEXT NOT NULL DEFAULT '[]',
    ports TEXT NOT NULL DEFAULT '[]',
    remove INTEGER NOT NULL DEFAULT 0,
    accelerator TEXT NOT NULL DEFAULT ''
);
CREATE INDEX instance_image ON instance (image_digest);
"""

MIN_ID_CHARACTERS = 3  # shorter beginnings of an id are more often a slip than a wish
COLUMNS = (
    "id,name,image,image_digest,isolation,created,command,request,started,boot_id,endpoints,ports,remove,accelerator"
)
# To a table of a version, what leads to the next.
CHANGES = {
    1: "ALTER TABLE instance ADD COLUMN accelerator TEXT NOT NULL DEFAULT ''",
    2: """
ALTER TABLE instance RENAME COLUMN endpoint TO endpoints;
UPDATE instance SET endpoints = CASE WHEN endpoints IS NULL THEN '[]' ELSE '[' || endpoints || ']' END
""",
}


def insert(db: Connection, instance: Instance) -> None:
    """Add a row.

    Raises:
        Conflict: the name is taken.
    """
    check_free(db, instance.name)
    row = row_of(instance)
    db.execute(f"INSERT INTO instance ({COLUMNS}) VALUES ({','.join('?' * len(row))})", row)


def row_of(instance: Instance) -> tuple[Any, ...]:
    """The inverse of from_row."""
    return (
        *instance[:6],
        jsontext.dumps(instance.command),
        instance.request,
        instance.started,
        instance.boot_id,
        jsontext.dumps(instance.endpoints),
        jsontext.dumps(instance.ports),
        int(instance.remove),
        instance.accelerator,
    )


def check_free(db: Connection, name: str) -> None:
    """Refuse a name that is taken.

    Raises:
        Conflict: it is.
    """
    holder = db.execute("SELECT id FROM instance WHERE name=?", (name,)).fetchone()
    if holder:
        raise Conflict(
            f"the name {name!r} is in use by workload {holder[0][:12]}",
            hint=f"twinhull rm {name}, or choose another name",
        )


def set_endpoints(
    db: Connection, identity: str, endpoints: tuple[Endpoint, ...] = (), ports: tuple[Port, ...] = ()
) -> None:
    """Say what the workload holds of its networks from now on."""
    row = (jsontext.dumps(endpoints), jsontext.dumps(ports), identity)
    db.execute("UPDATE instance SET endpoints=?, ports=? WHERE id=?", row)


def set_request(db: Connection, identity: str, request: Request) -> None:
    """Say what is asked for from the next start on."""
    db.execute("UPDATE instance SET request=? WHERE id=?", (request_text(request), identity))


def set_side(db: Connection, identity: str, request: Request) -> None:
    """Say that from now on it has the request's isolation, which has to be a decided one."""
    row = (request.isolation, request_text(request), identity)
    db.execute("UPDATE instance SET isolation=?, request=?, accelerator='' WHERE id=?", row)


def mark_started(db: Connection, identity: str, when: float, boot_id: str, accelerator: str) -> None:
    """The start mark: from here on a workload without exit record and without shim is lost.

    Args:
        accelerator: what its QEMU runs under, "" in a container.
    """
    row = (when, boot_id, accelerator, identity)
    db.execute("UPDATE instance SET started=?, boot_id=?, accelerator=? WHERE id=?", row)


def clear_started(db: Connection, identity: str) -> None:
    """Take the start mark back: the program could not be executed."""
    db.execute("UPDATE instance SET started=0 WHERE id=?", (identity,))


def delete(db: Connection, identity: str) -> None:
    """Remove a row."""
    db.execute("DELETE FROM instance WHERE id=?", (identity,))


def rename(db: Connection, identity: str, name: str) -> None:
    """Give a workload another name."""
    db.execute("UPDATE instance SET name=? WHERE id=?", (name, identity))


def everything(db: Connection) -> list[Instance]:
    """All rows, newest first."""
    return [from_row(row) for row in db.execute(f"SELECT {COLUMNS} FROM instance ORDER BY created DESC")]


def get(db: Connection, identity: str) -> Instance | None:
    """The row with this full id."""
    row = db.execute(f"SELECT {COLUMNS} FROM instance WHERE id=?", (identity,)).fetchone()
    return from_row(row) if row else None


def find(db: Connection, word: str) -> Instance:
    """The row with this name, id or unambiguous beginning of an id.

    Raises:
        NotFound, Conflict: none, or several.
    """
    row = db.execute(f"SELECT {COLUMNS} FROM instance WHERE name=? OR id=?", (word, word)).fetchone()
    if row:
        return from_row(row)
    pattern = "".join(letter for letter in word if letter in "0123456789abcdef")
    rows = []
    if len(word) >= MIN_ID_CHARACTERS and pattern == word:
        rows = db.execute(f"SELECT {COLUMNS} FROM instance WHERE id GLOB ? LIMIT 2", (word + "*",)).fetchall()
    if not rows:
        raise NotFound(f"no such workload: {word}", hint="twinhull ps --all lists them")
    if len(rows) > 1:
        raise Conflict(f"the id {word} is ambiguous", hint="write more of it")
    return from_row(rows[0])


def from_row(row: tuple[Any, ...]) -> Instance:
    """Return the values of one row."""
    endpoints = tuple([endpoint_from(values) for values in jsontext.loads(row[10])])
    ports = tuple(Port(*port) for port in jsontext.loads(row[11]))
    command = tuple(jsontext.loads(row[6]))
    return Instance._make((*row[:6], command, *row[7:10], endpoints, ports, bool(row[12]), row[13]))


def endpoint_from(values: list[Any]) -> Endpoint:
    """Return a place on a network as it was written down, perhaps before the last fields were there."""
    place = Endpoint(*values)
    return place._replace(aliases=tuple(place.aliases)) if place.aliases else place


def request_text(request: Request) -> str:
    """A request as JSON: only what differs from its defaults, so that it reads well and costs little."""
    defaults = Request("")._asdict()
    return jsontext.dumps({key: value for key, value in request._asdict().items() if value != defaults[key]})


def request_from(text: str) -> Request:
    """The inverse of request_text."""
    values = jsontext.loads(text)
    values.update({key: tuple(value) for key, value in values.items() if isinstance(value, list)})
    values["volumes"] = tuple(Volume(*row) for row in values.get("volumes", ()))
    values["ports"] = tuple(Port(*row) for row in values.get("ports", ()))
    values["devices"] = tuple(Device(*row) for row in values.get("devices", ()))
    for key in ("ulimits", "sysctls", "tmpfs", "hosts"):
        values[key] = tuple(tuple(row) for row in values.get(key, ()))
    values["labels"] = tuple((key, value) for key, value in values.get("labels", ()))
    values["attachments"] = tuple(
        Attachment(name, address, tuple(aliases), *rest)
        for name, address, aliases, *rest in values.get("attachments", ())
    )
    if "health" in values:
        test, *rest = values["health"]
        values["health"] = Health(tuple(test), *rest)
    if values.get("disk"):
        values["disk"] = Disk(*values["disk"])
    return Request(**values)
