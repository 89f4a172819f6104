"""Rows of images: what is here, under which names, made of which layers.

Promise: an image that has a row has all its layers unpacked and synced. Names are the full ones of
`oci.reference`; finding one by its name is a single query, for it is on the way of every run.
"""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.errors import Conflict, InvalidRequest, NotFound
from twinhull.model import Image, Layer
from twinhull.oci.reference import DOCKER_HUB, HEX, LOCAL_FILES, Reference, familiar, parse
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import Any

SCHEMA = """
CREATE TABLE image (
    digest TEXT PRIMARY KEY,
    config_digest TEXT NOT NULL,
    platform TEXT NOT NULL,
    config TEXT NOT NULL,
    layers TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    passwd TEXT NOT NULL DEFAULT '',
    "group" TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL
);
CREATE INDEX image_config ON image (config_digest);
CREATE TABLE tag (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL REFERENCES image (digest)
) WITHOUT ROWID;
CREATE INDEX tag_digest ON tag (digest);
CREATE TABLE layer (
    id INTEGER PRIMARY KEY,
    diff_id TEXT NOT NULL UNIQUE,
    size_bytes INTEGER NOT NULL
);
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE disk (
    chain TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    size_bytes INTEGER NOT NULL
) WITHOUT ROWID;
"""

COLUMNS = 'image.digest,config_digest,platform,config,layers,size_bytes,passwd,"group"'
FILES = tuple(f"{transport}:" for transport in LOCAL_FILES)
MIN_ID_CHARACTERS = 4  # shorter beginnings of an id are more often a slip than a wish


class Listed(NamedTuple):
    """One line of `images`; an image without a tag has the name ""."""

    name: str
    image: Image
    created: float


def find(db: Connection, name: str, *, platform: str = "", default_registry: str = DOCKER_HUB) -> Image | None:
    """The image of this name, or of this id or beginning of an id; None if it is not here.

    Args:
        platform: "" takes what is here; otherwise an image for another platform is not found.

    Raises:
        InvalidRequest: `name` is no reference.
        Conflict: it is the beginning of several ids.
    """
    image = look_up(db, name, default_registry)
    if image and platform:
        from twinhull.oci.platform import parse as parse_platform  # seldom asked for, and a run's time counts

        return image if parse_platform(platform) == parse_platform(image.platform) else None
    return image


def get(db: Connection, name: str, *, default_registry: str = DOCKER_HUB) -> Image:
    """The image of this name or id, for verbs that need it to be here.

    Raises:
        NotFound: it is not.
    """
    image = look_up(db, name, default_registry)
    if image is None:
        raise NotFound(f"no such image here: {name}", hint="twinhull images lists them")
    return image


def look_up(db: Connection, name: str, default_registry: str) -> Image | None:
    """Look for a name first, for an id then: a name may consist of hexadecimal digits."""
    if not name.startswith("sha256:"):
        wanted = kept_name(parse(name, default_registry))
        query = f"SELECT {COLUMNS} FROM tag JOIN image ON image.digest = tag.digest WHERE tag.name=?"
        if row := db.execute(query, (wanted,)).fetchone():
            return from_row(row)
    digits = name.removeprefix("sha256:")
    if len(digits) < MIN_ID_CHARACTERS or not HEX.issuperset(digits):
        return None
    pattern = f"sha256:{digits}*"
    query = f"SELECT {COLUMNS} FROM image WHERE config_digest GLOB ? OR digest GLOB ? ORDER BY created DESC"
    found = [from_row(row) for row in db.execute(query, (pattern, pattern)).fetchall()]
    if len({image.config_digest for image in found}) > 1:
        raise Conflict(f"several images have an id that begins with {digits}", hint="write more of it")
    return found[0] if found else None


def kept_name(reference: Reference) -> str:
    """The name in the table: that of a directory or an archive says where it is from anywhere."""
    if reference.transport not in LOCAL_FILES:
        return reference.name
    return f"{reference.transport}:{os.path.abspath(reference.place)}"


def is_file(name: str) -> bool:
    """True for the name of a directory or an archive."""
    return name.startswith(FILES)


def by_digest(db: Connection, digest: str) -> Image | None:
    """The image with this manifest digest."""
    row = db.execute(f"SELECT {COLUMNS} FROM image WHERE image.digest=?", (digest,)).fetchone()
    return from_row(row) if row else None


def insert(db: Connection, image: Image, created: float) -> None:
    """Add the row, or refresh the one that is there. Call inside a transaction, when every layer has its row."""
    row = (*image[:4], jsontext.dumps(image.layers), *image[5:], created)
    db.execute(f"INSERT OR IGNORE INTO image VALUES ({','.join('?' * len(row))})", row)


def set_tag(db: Connection, name: str, digest: str) -> None:
    """Let a full name mean an image that is here."""
    db.execute("INSERT INTO tag VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET digest=excluded.digest", (name, digest))


def tag(db: Connection, source: str, target: str, *, default_registry: str = DOCKER_HUB) -> None:
    """Give an image that is here one more name.

    Raises:
        NotFound: there is no `source`.
        InvalidRequest: `target` is no name in a registry, or has a digest.
    """
    image = get(db, source, default_registry=default_registry)
    reference = parse(target, default_registry)
    if reference.transport != "docker" or reference.digest:
        raise InvalidRequest(f"{target!r} cannot be a tag", hint="[REGISTRY/]NAME[:TAG]")
    set_tag(db, reference.name, image.digest)


def tags(db: Connection, digest: str) -> list[str]:
    """The full names of an image."""
    return [name for (name,) in db.execute("SELECT name FROM tag WHERE digest=? ORDER BY name", (digest,))]


def any_of_repository(db: Connection, repository: str) -> bool:
    """True if an image of this repository is here, under any tag or digest."""
    pattern = f"{repository}[:@]*"  # a repository's name has no character that GLOB knows
    return db.execute("SELECT 1 FROM tag WHERE name GLOB ? LIMIT 1", (pattern,)).fetchone() is not None


def everything(db: Connection) -> list[Listed]:
    """All images, newest first, once for each name."""
    query = f"""SELECT {COLUMNS}, coalesce(tag.name, ''), created FROM image
        LEFT JOIN tag ON tag.digest = image.digest ORDER BY created DESC, tag.name"""
    return [Listed(row[8], from_row(row[:8]), row[9]) for row in db.execute(query)]


def short_name(listed: Listed) -> str:
    """What people call it."""
    return familiar(listed.name) if listed.name else "<none>"


def from_row(row: tuple[Any, ...]) -> Image:
    """Return the value of one row."""
    layers = tuple(Layer(*layer) for layer in jsontext.loads(row[4]))
    return Image(row[0], row[1], row[2], row[3], layers, row[5], row[6], row[7])
