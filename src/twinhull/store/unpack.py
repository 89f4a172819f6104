"""Unpack a layer by directory descriptors: no name in an archive is ever followed.

Promise: nothing outside the directory given is touched, whatever the archive says. Each part of a
path is opened by itself, without following links; what stands in the way of an entry is replaced,
but a link on the way to it is refused. Whiteouts become overlayfs's.

Owners, modes, times, devices, extended attributes and holes are kept; devices not without root, who may make none.
Nothing is synced here.
"""

from __future__ import annotations

import os
import shutil
import stat
from errno import EINVAL

from twinhull.errors import HostUnfit
from twinhull.host.facts import is_rootless
from twinhull.oci.layer import Limits, Path, clean, kept_xattrs, place, refused
from twinhull.oci.tar import Archive, Header
from twinhull.store.accounts import opaque_xattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Body = Callable[[], Iterator[memoryview]]

OPEN_DIRECTORIES = 64
IMPLIED_MODE = 0o755  # of a directory that has no entry of its own
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
WHITEOUT_DEVICE = os.makedev(0, 0)


def unpack(chunks: Iterator[bytes], root: str, limits: Limits | None = None) -> int:
    """Unpack a plain tar stream into an existing empty directory; return the bytes of its files.

    Raises:
        RegistryError: the archive is broken, hostile, or over a limit.
        OSError: the disk is full, or this is not root.
    """
    limits = limits or Limits()
    start = limits.bytes_left
    unpacker = Unpacker(root)
    try:
        archive = Archive(chunks)
        for header in archive:
            limits.count(header)
            unpacker.take(header, archive.body)
        unpacker.set_times()
    finally:
        unpacker.close()
    return start - limits.bytes_left


class Unpacker:
    """Puts entries into a directory; keeps the directories it used last open."""

    def __init__(self, root: str) -> None:
        self.open: dict[Path, int] = {(): os.open(root, DIRECTORY)}
        self.rootless = is_rootless()
        self.opaque = opaque_xattr()
        self.times: dict[bytes, int] = {b"": 0}  # a root without an entry: the same tree from the same tar

    def close(self) -> None:
        """Let go of all descriptors."""
        for fd in self.open.values():
            os.close(fd)
        self.open.clear()

    def take(self, header: Header, body: Body) -> None:
        """Perform one entry."""
        action, path = place(header)
        if action == "add":
            self.add_mapped(header, path, body) if self.rootless else self.add(header, path, body)
        elif action == "whiteout":
            self.hide(self.directory(path[:-1]), path[-1])
        elif action == "opaque":
            os.setxattr(self.directory(path), self.opaque, b"y")

    def directory(self, path: Path) -> int:
        """Return a descriptor, good until the next call, of a directory; it is made if it is not there."""
        fd = self.open.get(path)
        if fd is not None:
            return fd
        parent, name = self.directory(path[:-1]), path[-1]
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            os.mkdir(name, IMPLIED_MODE, dir_fd=parent)
            fd = os.open(name, DIRECTORY, dir_fd=parent)
            os.fchmod(fd, IMPLIED_MODE)
        except NotADirectoryError:
            if not is_whiteout(parent, name):
                raise refused(b"/".join(path), "is used as a directory and is none") from None
            fd = self.make_over(parent, name)
        return self.keep(path, fd)

    def keep(self, path: Path, fd: int) -> int:
        """Remember an open directory and close the one that was opened first, the root excepted."""
        if len(self.open) > OPEN_DIRECTORIES:
            oldest = next(key for key in self.open if key)
            os.close(self.open.pop(oldest))
        self.open[path] = fd
        return fd

    def make_over(self, parent: int, name: bytes) -> int:
        """Put a directory where this layer has a whiteout: it hides what lies below, so it is opaque."""
        os.unlink(name, dir_fd=parent)
        os.mkdir(name, IMPLIED_MODE, dir_fd=parent)
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        os.fchmod(fd, IMPLIED_MODE)
        os.setxattr(fd, self.opaque, b"y")
        return fd

    def hide(self, parent: int, name: bytes) -> None:
        """Make a whiteout. What this layer itself has of that name stays, and hides what lies below."""
        try:
            os.mknod(name, stat.S_IFCHR, WHITEOUT_DEVICE, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                return
            fd = os.open(name, DIRECTORY, dir_fd=parent)
            try:
                os.setxattr(fd, self.opaque, b"y")
            finally:
                os.close(fd)

    def add_mapped(self, header: Header, path: Path, body: Body) -> None:
        """The same for a user without root, who may make no devices, and give away what is his to his numbers alone."""
        if header.kind in ("character", "block"):
            return
        try:
            self.add(header, path, body)
        except OSError as error:
            if error.errno != EINVAL:
                raise
            raise unmapped(header) from error

    def add(self, header: Header, path: Path, body: Body) -> None:
        """Make what an entry describes."""
        if header.kind == "directory":
            self.add_directory(header, path)
            return
        if not path:
            raise refused(header.name, "would replace the root")
        if header.kind == "hardlink":
            self.add_hardlink(header, path)
            return
        parent, name = self.directory(path[:-1]), path[-1]
        try:
            self.make(header, parent, name, body)
        except FileExistsError:
            self.clear(parent, path)
            self.make(header, parent, name, body)

    def make(self, header: Header, parent: int, name: bytes, body: Body) -> None:
        """Make anything that is no directory and no hard link."""
        if header.kind == "file":
            make_file(header, parent, name, body)
            return
        if header.kind == "symlink":
            if not header.link:
                raise refused(header.name, "is a symbolic link to nothing")
            os.symlink(header.link, name, dir_fd=parent)
        else:
            make_node(header, parent, name)
        os.chown(name, header.uid, header.gid, dir_fd=parent, follow_symlinks=False)
        if header.kind != "symlink":
            os.chmod(name, header.mode, dir_fd=parent)  # just made by us: no link
        kept_xattrs(header)  # checked, but what cannot be opened keeps none of those we set
        os.utime(name, ns=(header.mtime_ns, header.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def add_directory(self, header: Header, path: Path) -> None:
        """Make a directory, or give its attributes to the one that is there."""
        if path:
            parent, name = self.directory(path[:-1]), path[-1]
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode) and not is_whiteout(parent, name):
                    self.clear(parent, path)
                    os.mkdir(name, 0o700, dir_fd=parent)
        fd = self.directory(path)
        os.fchown(fd, header.uid, header.gid)
        os.fchmod(fd, header.mode)
        set_xattrs(header, fd)
        self.times[b"/".join(path)] = header.mtime_ns

    def add_hardlink(self, header: Header, path: Path) -> None:
        """Link to a file of the same layer; a link to a symbolic link is one to the link itself."""
        target = clean(header.link)
        if not target:
            raise refused(header.name, "is a hard link to the root")
        if target == path:
            return
        source = os.dup(self.directory(target[:-1]))
        try:
            parent, name = self.directory(path[:-1]), path[-1]
            if exists(parent, name):
                self.clear(parent, path)
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            link = header.link[:200].decode(errors="backslashreplace")
            raise refused(header.name, f"is a hard link to {link!r}, which is no file of this layer") from None
        finally:
            os.close(source)

    def clear(self, parent: int, path: Path) -> None:
        """Remove what an earlier entry of this layer left at `path`."""
        name = path[-1]
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        for key in [key for key in self.open if key[: len(path)] == path]:
            os.close(self.open.pop(key))
        shutil.rmtree(os.fsdecode(name), dir_fd=parent)

    def set_times(self) -> None:
        """Directories get their times last: each entry made inside one changes them."""
        for joined, mtime_ns in self.times.items():
            try:
                os.utime(self.existing(clean(joined)), ns=(mtime_ns, mtime_ns))
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry replaced it

    def existing(self, path: Path) -> int:
        """As `directory`, but nothing is made."""
        fd = self.open.get(path)
        if fd is not None:
            return fd
        return self.keep(path, os.open(path[-1], DIRECTORY, dir_fd=self.existing(path[:-1])))


def make_file(header: Header, parent: int, name: bytes, body: Body) -> None:
    """Write a file with its holes; owner before mode, which chown(2) would take the set-id bits from."""
    fd = os.open(name, NEW_FILE, 0o600, dir_fd=parent)
    try:
        if header.sparse is None:
            for piece in body():
                while piece:
                    piece = piece[os.write(fd, piece) :]
        else:
            write_parts(fd, header.sparse, body())
            os.ftruncate(fd, header.size_bytes)
        os.fchown(fd, header.uid, header.gid)
        os.fchmod(fd, header.mode)
        if header.xattrs:
            set_xattrs(header, fd)
        os.utime(fd, ns=(header.mtime_ns, header.mtime_ns))
    finally:
        os.close(fd)


def write_parts(fd: int, parts: tuple[tuple[int, int], ...], pieces: Iterator[memoryview]) -> None:
    """Write what is stored of a sparse file to where it belongs."""
    piece = memoryview(b"")
    for offset, length in parts:
        while length:
            if not piece:
                piece = next(pieces)
            count = os.pwrite(fd, piece[:length], offset)
            piece, offset, length = piece[count:], offset + count, length - count


def make_node(header: Header, parent: int, name: bytes) -> None:
    """Make a device or a FIFO."""
    kind = {"character": stat.S_IFCHR, "block": stat.S_IFBLK}.get(header.kind, stat.S_IFIFO)
    os.mknod(name, kind | 0o600, os.makedev(header.major, header.minor), dir_fd=parent)


def set_xattrs(header: Header, fd: int) -> None:
    """Set the attributes that are kept."""
    for name, value in kept_xattrs(header):
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            raise refused(header.name, f"has an attribute {name!r} that cannot be set: {error.strerror}") from error


def unmapped(header: Header) -> HostUnfit:
    """The error for an owner who has no number here."""
    owner = f"{header.uid}:{header.gid}"
    hint = "give yourself more numbers (usermod --add-subuids --add-subgids), end what runs, and try again"
    return HostUnfit(f"{header.name[:200].decode(errors='backslashreplace')!r} is of {owner}: not mapped", hint=hint)


def is_whiteout(parent: int, name: bytes) -> bool:
    """True for overlayfs's mark that a lower file is hidden."""
    status = os.lstat(name, dir_fd=parent)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT_DEVICE


def exists(parent: int, name: bytes) -> bool:
    """True if there is anything of this name."""
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True
