"""The guest's first file system: the launcher as /init and the kernel modules it loads, as one cpio archive.

Promise: the same inputs give the same bytes, so that a digest names an archive.
"""

from __future__ import annotations

import os

from twinhull.host import files
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

S_IFDIR, S_IFREG, S_IFCHR = 0o040000, 0o100000, 0o020000
MODULES_DIRECTORY = "modules"
MODULES_ORDER = "modules.order"  # one file name a line, in the order in which /init loads them
DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", MODULES_DIRECTORY)


class Entry(NamedTuple):
    """One member of the archive. `device` is (major, minor) for a device node."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def entries(init: bytes, modules: Sequence[tuple[str, bytes]]) -> list[Entry]:
    """Return the members of a guest's archive: `modules` are (file name, content) in load order."""
    order = "".join(f"{name}\n" for name, _ in modules)
    return [
        *(Entry(name, S_IFDIR | 0o755) for name in DIRECTORIES),
        Entry("dev/console", S_IFCHR | 0o600, device=(5, 1)),
        Entry("init", S_IFREG | 0o755, init),
        Entry(MODULES_ORDER, S_IFREG | 0o644, order.encode()),
        *(Entry(f"{MODULES_DIRECTORY}/{name}", S_IFREG | 0o644, content) for name, content in modules),
    ]


def archive(members: Iterable[Entry]) -> bytes:
    """Return a "newc" cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    parts = [member(number, entry) for number, entry in enumerate(members, start=1)]
    parts.append(member(0, Entry("TRAILER!!!", 0)))
    return b"".join(parts)


def member(inode: int, entry: Entry) -> bytes:
    """Return one member: header of thirteen hexadecimal numbers, name and content, each padded to four bytes."""
    name = entry.name.encode() + b"\0"
    links = 2 if entry.mode & S_IFDIR else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return pad(head) + pad(entry.content)


def pad(data: bytes) -> bytes:
    """Return `data` with zeroes up to a multiple of four bytes."""
    return data + bytes(-len(data) % 4)


def publish_initrd(path: str, launcher: str, modules: Sequence[str]) -> None:
    """Write the archive of `launcher` and `modules` (paths, in load order) under its final name."""
    contents = [(os.path.basename(module), files.read(module)) for module in modules]
    files.publish(path, archive(entries(files.read(launcher), contents)), 0o644)
