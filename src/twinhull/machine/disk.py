"""Disks of machines: the file that was given, and the one on top of it that takes what is written.

Promise: a given file is opened to be read and never to be written, and a start from one that has changed since its
machine was created is refused: what lies on top would not fit it.
"""

from __future__ import annotations

import os
import stat

from twinhull.errors import Conflict, HostUnfit, InvalidRequest, NotFound
from twinhull.host import spawn
from twinhull.machine import qcow2
from twinhull.model import Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import stat_result

OVERLAY = "disk.qcow2"  # its name in the instance directory
START_BYTES = 1024


def inspect(path: str) -> Disk:
    """Return what a machine must know of a disk before it lies on it.

    Raises:
        NotFound, InvalidRequest: it is not there, no file, or no disk that stands alone.
    """
    path = os.path.abspath(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"no such disk: {path}") from None
    except OSError as error:
        raise InvalidRequest(f"the disk {path} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise InvalidRequest(f"{path} is a directory", hint="--disk takes a qcow2 file")
        if not stat.S_ISREG(found.st_mode):
            raise InvalidRequest(f"{path} is no regular file", hint="--disk takes a qcow2 file")
        start = os.pread(fd, START_BYTES, 0)
        header = qcow2.read_header(start, path)
        qcow2.check_tables(start, found.st_size, path)
    finally:
        os.close(fd)
    return Disk(path, header.size_bytes, stamp_of(found))


def stamp_of(found: stat_result) -> str:
    """What tells a file from what it is after somebody wrote to it, or put another in its place."""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def make_overlay(disk: Disk, path: str) -> None:
    """Make the disk that takes what the machine writes. It names the one below for other tools; QEMU is told by us.

    Raises:
        HostUnfit: qemu-img is missing or cannot.
    """
    options = ("-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", disk.path)
    try:
        done = spawn.run_tool(["qemu-img", "create", *options, path, str(disk.size_bytes)])
    except FileNotFoundError:
        raise HostUnfit("qemu-img is not installed", hint="apt-get install qemu-utils") from None
    if done.returncode:
        raise HostUnfit(f"the machine's disk cannot be made: {done.stderr.strip() or done.stdout.strip()}")
    os.chmod(path, 0o600)


def check_unchanged(disk: Disk, name: str) -> None:
    """Refuse a disk that is not the one that the machine was created on.

    Raises:
        NotFound, InvalidRequest, Conflict: it is gone, or another.
    """
    found = inspect(disk.path)
    if found == disk:
        return
    where, _, time_ns = disk.stamp.rpartition(":")
    hint = f"put the file back as it was, or twinhull machine rm {name} and create it anew"
    if found.stamp.rpartition(":")[0] == where:  # whatever somebody did to it, they left its size
        seconds, nanoseconds = divmod(int(time_ns), 1_000_000_000)
        hint += f"; if nothing but its time changed: touch -d @{seconds}.{nanoseconds:09} {disk.path}"
    raise Conflict(f"{disk.path} is not what it was when the machine {name} was created", hint=hint)
