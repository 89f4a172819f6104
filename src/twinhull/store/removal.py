"""Take images away: names first, then what nothing needs any more.

Promise: what a workload was made from stays until the workload is gone, forced or not; rows go
before files, so that a kill leaves rubbish, never a row without content.
"""

from __future__ import annotations

import os
from contextlib import suppress

from twinhull.config import Config
from twinhull.errors import Conflict
from twinhull.model import Image
from twinhull.oci.reference import familiar, parse
from twinhull.store import content, disk, images, reserve, snapshots
from twinhull.store import db as database
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection


class Removed(NamedTuple):
    """What went: names, and the image's digest if nothing of it is left."""

    untagged: tuple[str, ...]
    deleted: str


class Rubbish(NamedTuple):
    """Files whose rows are gone."""

    layers: list[int]
    blobs: list[str]
    disks: list[str]


def remove(config: Config, db: Connection, name: str, *, force: bool = False) -> Removed:
    """Take a name away and, with the last one, the image.

    Args:
        force: by id, take away all names; and untag an image that a workload was made from.

    Raises:
        NotFound: no such image.
        Conflict: a workload was made from it, or an id stands for several names.
    """
    content.make_directories(config)
    with content.prune_lock(config, shared=False):
        image = images.get(db, name, default_registry=config.default_registry)
        going = names_to_remove(config, db, name, image, force=force)
        users = workloads(db, image.digest)
        stays = len(going) < len(images.tags(db, image.digest))
        if users and not stays and not force:
            listed = ", ".join(users[:5])
            raise Conflict(f"{name} is in use by {listed}", hint="twinhull rm them first, or --force to untag it")
        try:
            rubbish = untag(db, going, None if stays or users else image)
        except database.DatabaseFull:
            reserve.spend(config.state)
            rubbish = untag(db, going, None if stays or users else image)
        delete_files(config, rubbish)
        reserve.keep(config.state)
    return Removed(tuple(map(familiar, going)), "" if stays or users else image.digest)


def untag(db: Connection, names: list[str], image: Image | None) -> Rubbish:
    """Forget names, and an image with them; return what may be deleted then."""
    with database.transaction(db):
        db.executemany("DELETE FROM tag WHERE name=?", [(name,) for name in names])
        return forget(db, image) if image else Rubbish([], [], [])


def collect(config: Config, db: Connection) -> list[str]:
    """Remove images that have no name and no workload; return their digests."""
    content.make_directories(config)
    with content.prune_lock(config, shared=False):
        unnamed = "SELECT digest FROM image WHERE digest NOT IN (SELECT digest FROM tag)"
        digests = [digest for (digest,) in db.execute(unnamed) if not workloads(db, digest)]
        for digest in digests:
            image = images.by_digest(db, digest)
            if image is None:
                continue
            with database.transaction(db):
                rubbish = forget(db, image)
            delete_files(config, rubbish)
    return digests


def names_to_remove(config: Config, db: Connection, name: str, image: Image, *, force: bool) -> list[str]:
    """The full names that `name` stands for: itself, or all of an image that was named by its id."""
    listed = images.tags(db, image.digest)
    if not name.startswith("sha256:") and (full := images.kept_name(parse(name, config.default_registry))) in listed:
        return [full]
    if len(listed) > 1 and not force:
        shown = ", ".join(map(familiar, listed))
        raise Conflict(f"{name} has several names: {shown}", hint="remove one of them, or --force for all")
    return listed


def workloads(db: Connection, digest: str) -> list[str]:
    """Names of the workloads that were made from an image, and of their snapshots."""
    known = db.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name='instance'").fetchone()
    if not known:
        return []
    made = [name for (name,) in db.execute("SELECT name FROM instance WHERE image_digest=?", (digest,))]
    return made + snapshots.of_image(db, digest)


def forget(db: Connection, image: Image) -> Rubbish:
    """Delete an image's rows and those that only it needed. Call inside a transaction."""
    db.execute("DELETE FROM image WHERE digest=?", (image.digest,))
    left = [images.by_digest(db, digest) for (digest,) in db.execute("SELECT digest FROM image").fetchall()]
    others = [other for other in left if other is not None]
    diff_ids = {layer.diff_id for layer in image.layers} - {layer.diff_id for one in others for layer in one.layers}
    blobs = blobs_of(image).difference(*map(blobs_of, others))
    rubbish = Rubbish([], sorted(blobs), [])
    for diff_id in diff_ids:
        row = db.execute("SELECT id FROM layer WHERE diff_id=?", (diff_id,)).fetchone()
        rubbish.layers.extend(row or ())
        db.execute("DELETE FROM layer WHERE diff_id=?", (diff_id,))
    db.executemany("DELETE FROM blob WHERE digest=?", [(digest,) for digest in blobs])
    chain = disk.chain_of(image)
    if chain not in map(disk.chain_of, others):
        row = db.execute("SELECT file FROM disk WHERE chain=?", (chain,)).fetchone()
        rubbish.disks.extend(row or ())
        db.execute("DELETE FROM disk WHERE chain=?", (chain,))
    return rubbish


def blobs_of(image: Image) -> set[str]:
    """Digests of everything an image is made of."""
    return {image.digest, image.config_digest, *(layer.digest for layer in image.layers)}


def delete_files(config: Config, rubbish: Rubbish) -> None:
    """Remove files whose rows are gone."""
    for number in rubbish.layers:
        content.remove_layer_directory(config, number)
    paths = [content.blob_path(config, digest) for digest in rubbish.blobs]
    paths += [f"{config.state}/disks/{file}" for file in rubbish.disks]
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)
