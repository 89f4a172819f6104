"""An image's root as one erofs file, for guests to mount read-only and to share in the page cache.

Promise: one file for each stack of layers, the same bytes each time; owners, modes, times, links
and attributes are those that a container sees, because it is made of the same overlay.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import HostUnfit, RegistryError
from twinhull.host import files, spawn
from twinhull.host.stamp import stamp
from twinhull.model import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection

# In a mount namespace of its own, so that nothing is left mounted however it ends. A second, empty lower
# directory because the kernel wants two; mount(2), because libmount's newer way ends at 256 characters.
# With SOURCE_DATE_EPOCH mkfs.erofs writes no time of today, and only clamps files' times that lie later.
CHAIN_BYTES = 32
MAKE = """
cd "$1" &&
LIBMOUNT_FORCE_MOUNT2=always mount -t overlay overlay -o "ro,lowerdir=$2:../disks/$3/empty" "../disks/$3/root" &&
SOURCE_DATE_EPOCH=4102444800 exec mkfs.erofs --quiet -U "$4" "../disks/$3/image" "../disks/$3/root"
"""


def ensure(config: Config, db: Connection, image: Image) -> str:
    """Return the path of an image's disk, made if it is not here.

    Raises:
        HostUnfit: mkfs.erofs is missing, or this is not root.
        RegistryError: it cannot be written.
    """
    chain = chain_of(image)
    if path := find(config, db, chain):
        return path
    from twinhull.store import content

    content.make_directories(config)
    with content.prune_lock(config, shared=True), content.fetch_lock(config, chain, wait=True):
        return find(config, db, chain) or make(config, db, image, chain)


def chain_of(image: Image) -> str:
    """What names a stack of layers: digits of a hash over their contents, from the bottom up."""
    return stamp(*(layer.diff_id for layer in image.layers), digest_bytes=CHAIN_BYTES)


def find(config: Config, db: Connection, chain: str) -> str:
    """The disk of a stack, "" if there is none, or not the file that was made."""
    row = db.execute("SELECT file, size_bytes FROM disk WHERE chain=?", (chain,)).fetchone()
    if not row:
        return ""
    path = f"{config.state}/disks/{row[0]}"
    try:
        return path if os.stat(path).st_size == row[1] else ""
    except FileNotFoundError:
        return ""


def make(config: Config, db: Connection, image: Image, chain: str) -> str:
    """Build the disk, sync it, rename it, and then believe it."""
    from twinhull.store import snapshot

    base, lower = snapshot.lower(config, db, image)
    disks, name = f"{config.state}/disks", f"{chain}.erofs"
    work = f"{disks}/new-{chain}"
    files.remove_tree(work)
    try:
        for directory in (work, f"{work}/empty", f"{work}/root"):
            files.make_exactly(directory, 0o755)
        build(base, lower, f"new-{chain}", chain)
        size_bytes = publish(f"{work}/image", f"{disks}/{name}")
    finally:
        files.remove_tree(work)
    db.execute("INSERT OR REPLACE INTO disk VALUES (?, ?, ?)", (chain, name, size_bytes))
    return f"{disks}/{name}"


def build(base: str, lower: str, work: str, chain: str) -> None:
    """Run mkfs.erofs over the overlay."""
    uuid = "-".join((chain[:8], chain[8:12], chain[12:16], chain[16:20], chain[20:32]))
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MAKE, "sh", base, lower, work, uuid]
    done = spawn.run_tool(words)
    if done.returncode == 127:
        raise HostUnfit("mkfs.erofs is not installed", hint="apt-get install erofs-utils")
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        full = "no space" in said.lower()
        hint = "make room (twinhull rmi)" if full else "twinhull doctor looks for the cause"
        raise RegistryError(f"cannot make the guest's disk: {said[-300:]}", hint=hint)


def publish(temporary: str, final: str) -> int:
    """Sync and rename; return the size."""
    fd = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o600)
        os.fsync(fd)
        size_bytes = os.fstat(fd).st_size
    finally:
        os.close(fd)
    os.rename(temporary, final)
    files.sync_directory(os.path.dirname(final))
    return size_bytes
