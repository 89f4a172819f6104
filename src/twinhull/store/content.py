"""Where content lies on the disk, and when it is believed.

<state>/content/sha256/HEX   blobs as they were transferred: layers, configs and manifests
<state>/layers/NUMBER        unpacked layers; numbers are short, for a mount has to name them all
<state>/disks/HEX.erofs      roots for guests
new-*, gone-*                what is being made, or removed

Promise: whatever has a row was synced and renamed before it; whatever has none is rubbish that the
next pull sweeps away. Locks, in this order: prune (shared while making, exclusive while removing),
one for each digest being fetched, SQLite's.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress

from twinhull.config import Config
from twinhull.errors import Conflict, RegistryError
from twinhull.host import files, locks
from twinhull.scopes import contextmanager
from twinhull.store import db as database
from twinhull.store import reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from sqlite3 import Connection


def make_directories(config: Config) -> None:
    """Make the places of everything above."""
    for name in ("content/sha256", "layers", "disks"):
        files.make_directory(f"{config.state}/{name}")
    files.make_directory(f"{config.run}/fetch")
    reserve.keep(config.state)


def blob_path(config: Config, digest: str) -> str:
    """Where a blob lies; only for digests that were checked (`reference.is_digest`)."""
    return f"{config.state}/content/sha256/{hex_of(digest)}"


def hex_of(digest: str) -> str:
    """The digits of a sha256 digest."""
    return digest.removeprefix("sha256:")


def prune_lock(config: Config, *, shared: bool, wait: bool = True) -> AbstractContextManager[int]:
    """Shared: what is here stays. Exclusive: something may be removed."""
    return locks.locked(f"{config.run}/prune.lock", shared=shared, wait=wait)


def fetch_lock(config: Config, digest: str, *, wait: bool) -> AbstractContextManager[int]:
    """One fetch of a digest at a time; the rows are to be looked at again after getting it."""
    return locks.locked(f"{config.run}/fetch/{hex_of(digest)}", wait=wait)


@contextmanager
def scratch(config: Config) -> Iterator[str]:
    """Give an empty directory for the time of the block."""
    import tempfile

    path = tempfile.mkdtemp(prefix=f"new-scratch-{os.getpid()}-", dir=f"{config.state}/content")
    try:
        yield path
    finally:
        files.remove_tree(path)


class Ingest:
    """A blob on its way in: hashed while it is written, and under its name only when it is whole."""

    def __init__(self, config: Config, digest: str) -> None:
        self.digest = digest
        self.final = blob_path(config, digest)
        self.temporary = f"{config.state}/content/new-{hex_of(digest)}-{os.getpid()}"
        self.fd = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append."""
        self.skim(chunk)
        self.size_bytes += len(chunk)
        files.write_all(self.fd, chunk)

    def skim(self, chunk: bytes) -> None:
        """Hash what will not be kept."""
        self.hash.update(chunk)

    def check(self, what: str) -> None:
        """Compare the digest.

        Raises:
            RegistryError: these are not the bytes that the digest names.
        """
        found = f"sha256:{self.hash.hexdigest()}"
        if found != self.digest:
            raise corrupt(what, self.digest, found)

    def finish(self, what: str) -> None:
        """Check the digest, sync and rename.

        Raises:
            RegistryError: as `check`.
        """
        self.check(what)
        os.fsync(self.fd)
        os.rename(self.temporary, self.final)
        files.sync_directory(os.path.dirname(self.final))

    def close(self) -> None:
        """Forget what was not finished."""
        os.close(self.fd)
        with suppress(FileNotFoundError):
            os.unlink(self.temporary)


@contextmanager
def ingest(config: Config, digest: str) -> Iterator[Ingest]:
    """Take a blob in; unless `finish` is called inside, nothing of it stays."""
    incoming = Ingest(config, digest)
    try:
        yield incoming
    finally:
        incoming.close()


def corrupt(what: str, wanted: str, found: str) -> RegistryError:
    """The error for content that is not what its digest says."""
    return RegistryError(
        f"corrupt {what}: its digest is {found[:19]}…, not {wanted[:19]}…",
        hint="pull again; if it stays so, the image is damaged where it comes from",
    )


def add_blob(config: Config, db: Connection, content: bytes) -> str:
    """Keep a small document and return its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if has_blob(db, digest):
        return digest
    with ingest(config, digest) as incoming:
        incoming.write(content)
        incoming.finish("document")
    believe_blob(db, digest, len(content))
    return digest


def read_blob(config: Config, digest: str) -> bytes:
    """Return a small document."""
    return files.read(blob_path(config, digest))


def has_blob(db: Connection, digest: str) -> bool:
    """True if a blob is here, whole."""
    return db.execute("SELECT 1 FROM blob WHERE digest=?", (digest,)).fetchone() is not None


def believe_blob(db: Connection, digest: str, size_bytes: int) -> None:
    """Say that a blob is here; it was synced and renamed."""
    db.execute("INSERT OR IGNORE INTO blob VALUES (?, ?)", (digest, size_bytes))


def has_layer(db: Connection, diff_id: str) -> bool:
    """True if a layer is here, unpacked."""
    return db.execute("SELECT 1 FROM layer WHERE diff_id=?", (diff_id,)).fetchone() is not None


def new_layer_path(config: Config, digest: str) -> str:
    """Where the layer of a blob is unpacked: an empty directory; its fetch lock is held."""
    path = f"{config.state}/layers/new-{hex_of(digest)}"
    files.remove_tree(path)
    files.make_exactly(path, 0o755)
    return path


def publish_layer(config: Config, db: Connection, path: str, diff_id: str, size_bytes: int) -> None:
    """Give an unpacked and synced layer its number, then its row."""
    layers = f"{config.state}/layers"
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM layer").fetchone()
    number = last + 1
    while True:
        try:
            os.mkdir(f"{layers}/{number}")  # takes the number: nobody else can make the same
            break
        except FileExistsError:
            number += 1
    os.rename(path, f"{layers}/{number}")
    files.sync_directory(layers)
    row = (number, diff_id, size_bytes)
    if db.execute("INSERT OR IGNORE INTO layer VALUES (?, ?, ?)", row).rowcount == 0:
        remove_layer_directory(config, number)  # the same tar, compressed differently, was quicker


def remove_layer_directory(config: Config, number: int) -> None:
    """Remove an unpacked layer that has no row any more."""
    gone = f"{config.state}/layers/gone-{number}-{os.getpid()}"
    with suppress(FileNotFoundError):
        os.rename(f"{config.state}/layers/{number}", gone)
    files.remove_tree(gone)


def sync_filesystem(path: str) -> None:
    """Make all that was written below `path` durable with one call, syncfs(2)."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if library.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def sweep(config: Config, db: Connection) -> None:
    """Remove what killed commands left, if nobody is making anything just now."""
    try:
        with prune_lock(config, shared=False, wait=False):
            for path in rubbish(config, db):
                if os.path.isdir(path):
                    files.remove_tree(path)
                else:
                    os.unlink(path)
    except Conflict:
        return


def rubbish(config: Config, db: Connection) -> list[str]:
    """Paths that no row speaks of. Only under the exclusive prune lock."""
    with database.transaction(db, durable=False):
        known = {
            "content": {"sha256"},
            "content/sha256": {hex_of(digest) for (digest,) in db.execute("SELECT digest FROM blob")},
            "layers": {str(number) for (number,) in db.execute("SELECT id FROM layer")},
            "disks": {file for (file,) in db.execute("SELECT file FROM disk")},
        }
    return [
        f"{config.state}/{place}/{name}"
        for place, kept in known.items()
        for name in os.listdir(f"{config.state}/{place}")
        if name not in kept
    ]
