"""Files of ours: written whole or not at all.

Promise: what `publish` returned from is on disk under its final name, or nothing is.
"""

from __future__ import annotations

import os
from errno import ENOTEMPTY
from stat import S_ISLNK, S_ISVTX, S_IWOTH

from twinhull.errors import HostUnfit

TREE_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_DEPTH = 64
ELSEWHERE = "for twinhull's own state, set TWINHULL_ROOT to a directory that can be written to"
REMOVAL_TRIES = 1000
OTHERS = 0o077  # bits of a mode
SHARED = S_ISVTX | S_IWOTH  # everybody may make names there, and take away his own
OF_YOURS = "set TWINHULL_ROOT to a directory of yours"


def make_directory(path: str, mode: int = 0o700) -> None:
    """Make a directory and its parents, of this mode whatever our umask; one that is there already is fine.

    Raises:
        HostUnfit: a link to nothing or a file is in the way, or the file system makes no directories.
    """
    try:
        make_exactly(path, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = os.path.dirname(path)
        make_directory(parent, mode)
        if not os.path.exists(parent):
            raise HostUnfit(f"{parent} is a link to nothing", hint="remove it, or make what it names") from None
        try:
            make_exactly(path, mode)
        except FileExistsError:
            return
        except FileNotFoundError:  # as in /proc
            raise HostUnfit(f"no directory can be made in {parent}", hint=ELSEWHERE) from None
    except NotADirectoryError:
        raise HostUnfit(f"{path}: what is above it is no directory", hint=ELSEWHERE) from None


def make_own_directory(path: str) -> None:
    """Make a directory of ours and its parents; one that is there already has to be ours.

    Below a directory where everybody may make names, as /tmp, so has all that leads to it: whoever owns a
    directory there, or may write to it, can put another in the place of ours.

    Raises:
        HostUnfit: it is another user's, or others may change what leads to it.
    """
    make_directory(path)
    if os.stat(path).st_uid != os.geteuid():
        raise HostUnfit(f"{path} belongs to another user", hint=OF_YOURS)
    for way in dict.fromkeys((path, os.path.realpath(path))):
        check_way(way)


def check_way(path: str) -> None:
    """Refuse a path that another user may lead elsewhere, from the first directory on where everybody may write."""
    shared, place = False, ""
    trusted = (0, os.geteuid(), os.stat("/").st_uid)  # of whom is "/" in a user's namespaces, is this machine's root
    for name in path.strip("/").split("/"):
        place = f"{place}/{name}"
        info = os.lstat(place)
        if S_ISLNK(info.st_mode):
            wrong = shared and info.st_uid not in trusted
        elif info.st_mode & SHARED == SHARED:
            shared, wrong = True, False
        else:
            wrong = shared and (info.st_uid not in trusted or bool(info.st_mode & S_IWOTH))
        if wrong:
            raise HostUnfit(f"{place} belongs to another user, or others may write to it", hint=OF_YOURS)


def make_exactly(path: str, mode: int) -> None:
    """Make one directory of this mode, which the umask may not narrow: others than root have to pass it."""
    os.mkdir(path, mode)
    if mode & OTHERS:
        os.chmod(path, mode)


def create(path: str, mode: int) -> int:
    """Open a new or emptied file of this mode, which the umask may not narrow: others than root have to read it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    if mode & OTHERS:
        os.fchmod(fd, mode)
    return fd


def write(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file that only this boot needs: no sync."""
    fd = create(path, mode)
    try:
        write_all(fd, content)
    finally:
        os.close(fd)


def replace(path: str, content: bytes) -> None:
    """The same at once: whoever is killed has written all of it or nothing, and a reader sees the old file or this."""
    write(f"{path}.new", content)
    os.rename(f"{path}.new", path)


def publish(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file that must survive a crash: temporary name, sync, rename, sync of the directory."""
    temporary = f"{path}.{os.getpid()}"
    fd = create(temporary, mode)
    try:
        write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def write_all(fd: int, content: bytes) -> None:
    """Write everything; a short write is not an error of the kernel."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(path: str) -> None:
    """Make renames in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read(path: str) -> bytes:
    """Return the content of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def remove_tree(path: str) -> None:
    """Remove a directory of ours by descriptors, never following a link; absent is fine.

    Directories too deep for our descriptors are moved to the top first: a workload may nest them at will.
    shutil's own would cost an import of 4 ms on the way of a run.
    """
    try:
        top = os.open(path, TREE_FLAGS)
    except FileNotFoundError:
        return
    try:
        for _ in range(REMOVAL_TRIES):
            if is_removed(top, path):
                return
        os.rmdir(path)
    finally:
        os.close(top)


def is_removed(top: int, path: str) -> bool:
    """Empty a directory and remove it; False if somebody put a file there meanwhile, as who looks for a lock does."""
    for name in os.listdir(top):
        remove_entry(top, top, name, MAX_DEPTH)
    try:
        os.rmdir(path)
    except FileNotFoundError:  # another command removes the same tree, and was faster
        return True
    except OSError as error:
        if error.errno != ENOTEMPTY:
            raise
        return False
    return True


def remove_entry(top: int, parent: int, name: str, depth: int) -> None:
    """Remove one name below `parent`; what lies deeper than `depth` goes to `top` under a name of its own."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    try:
        if not depth:
            os.rename(name, f".deep-{os.urandom(8).hex()}", src_dir_fd=parent, dst_dir_fd=top)
            return
        fd = os.open(name, TREE_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        for inner in os.listdir(fd):
            remove_entry(top, fd, inner, depth - 1)
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def remove_file(path: str) -> None:
    """Unlink a file; absent is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def write_value(path: str, value: bytes) -> None:
    """Give a control file of the kernel a value: in one write, and the file is there already."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)
