"""What a layer's entries may be called and carry, and what whiteouts mean. Pure.

Promise: a path that comes from here has no "..", no empty part and is relative to the layer's root;
attributes that would redirect overlayfs never get through.

Source: image-spec, layer.md; overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

from twinhull.errors import RegistryError
from twinhull.oci.tar import Header
from twinhull.tuples import NamedTuple

MAX_ENTRIES = 2_000_000
MAX_LAYER_BYTES = 1 << 38  # of files as they will be, holes counted
MAX_DIRECTORY_NAMES_BYTES = 64 << 20  # kept in memory until the end, for their times
MAX_DEPTH = 256
MAX_PATH_BYTES = 4095  # PATH_MAX without its NUL
MAX_COMPONENT_BYTES = 255
MAX_ID = (1 << 32) - 2  # -1 means "leave it" to chown(2)
MAX_MAJOR, MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1  # MINORBITS is 20

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
RESERVED = b".wh..wh."  # of aufs, which nobody uses any more

Path = tuple[bytes, ...]


class Limits:
    """Counts what a layer asks for, so that a small download cannot fill a disk unseen."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_LAYER_BYTES) -> None:
        self.entries_left = max_entries
        self.bytes_left = max_bytes
        self.names_left = MAX_DIRECTORY_NAMES_BYTES

    def count(self, header: Header) -> None:
        """Take one entry off.

        Raises:
            RegistryError: too many, or too much.
        """
        self.entries_left -= 1
        self.bytes_left -= header.size_bytes
        if header.kind == "directory":
            self.names_left -= len(header.name)
        if self.entries_left < 0 or self.names_left < 0:
            raise RegistryError("the layer has too many entries")
        if self.bytes_left < 0:
            raise RegistryError("the layer's files are too large")


class Place(NamedTuple):
    """Where an entry goes, and as what: add it, hide what lies below, or make a directory opaque."""

    action: str  # add | whiteout | opaque | skip
    path: Path


def place(header: Header) -> Place:
    """Say what an entry means.

    Raises:
        RegistryError: its name leads out of the layer or is none.
    """
    path = clean(header.name)
    if path and path[-1].startswith(WHITEOUT):
        return whiteout(path, header.name)
    if any(part.startswith(WHITEOUT) for part in path):
        if any(part.startswith(RESERVED) for part in path):
            return Place("skip", path)
        raise refused(header.name, "lies inside a whiteout")
    if header.uid > MAX_ID or header.gid > MAX_ID:
        raise refused(header.name, "has an owner that no kernel knows")
    if header.major > MAX_MAJOR or header.minor > MAX_MINOR:
        raise refused(header.name, "has a device number that no kernel knows")
    return Place("add", path)


def whiteout(path: Path, name: bytes) -> Place:
    """The meaning of a name that begins with .wh."""
    parent, last = path[:-1], path[-1]
    if last == OPAQUE:
        return Place("opaque", parent)
    if last.startswith(RESERVED) or any(part.startswith(RESERVED) for part in parent):
        return Place("skip", path)
    hidden = last[len(WHITEOUT) :]
    if hidden in (b"", b".", b"..") or any(part.startswith(WHITEOUT) for part in parent):
        raise refused(name, "is a whiteout of nothing")
    return Place("whiteout", (*parent, hidden))


def clean(name: bytes) -> Path:
    """Split a name into its parts: "./a//b/" is (a, b).

    A leading slash means the layer's root, as in every runtime: buildpacks write names so.

    Raises:
        RegistryError: "..", or longer or deeper than limits allow.
    """
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise refused(name, "leads out of the layer")
    if len(name) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH or any(len(part) > MAX_COMPONENT_BYTES for part in parts):
        raise refused(name, "is too long or too deep")
    return parts


def kept_xattrs(header: Header) -> tuple[tuple[bytes, bytes], ...]:
    """The attributes that are set; those of the builder's security modules mean nothing here.

    Raises:
        RegistryError: one would redirect overlayfs to other directories.
    """
    kept = []
    for name, value in header.xattrs:
        if name.startswith((b"trusted.overlay.", b"user.overlay.")):
            raise refused(header.name, f"has the attribute {name.decode(errors='replace')}")
        if name.startswith((b"user.", b"system.posix_acl_")) or name == b"security.capability":
            kept.append((name, value))
    return tuple(kept)


def refused(name: bytes, why: str) -> RegistryError:
    """The error for an entry."""
    return RegistryError(f"entry {name[:200].decode(errors='backslashreplace')!r} {why}")
