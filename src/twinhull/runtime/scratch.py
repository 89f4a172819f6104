"""Scratch disks: the writable half of a guest's root, copied from a formatted master.

Promise: a disk costs the host what is written to it; making one takes milliseconds.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import HostUnfit
from twinhull.host import files, spawn

SIZE_BYTES = 64 << 30
VERSION = 1
# Prezeroed, so that mke2fs neither writes nor leaves to the guest what a sparse file already is.
EXTENDED = "assume_storage_prezeroed=1,lazy_itable_init=0,lazy_journal_init=0"
JOURNAL_MB = 16
CHUNK_BYTES = 1 << 20


def make_scratch(config: Config, path: str, *, journal: bool) -> None:
    """Make a scratch disk at `path`; one that is there stays, with what is on it.

    Args:
        journal: the disk outlives its guest, which may be killed while it writes.
    """
    if os.path.exists(path):
        return
    copy_sparse(master(config, journal=journal), path)


def master(config: Config, *, journal: bool) -> str:
    """Return the formatted disk that others are copied from, made the first time."""
    name = f"scratch-{VERSION}-{'journal' if journal else 'plain'}.ext4"
    path = f"{config.state}/cache/{name}"
    if not os.path.exists(path):
        files.make_directory(os.path.dirname(path))
        temporary = f"{path}.{os.getpid()}"
        format_disk(temporary, journal=journal)
        os.rename(temporary, path)
    return path


def format_disk(path: str, *, journal: bool, content: str = "") -> None:
    """Make a sparse ext4 file system, synced.

    Args:
        content: a directory whose files it has from the beginning.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, SIZE_BYTES)
        filled = ("-d", content) if content else ()
        options = ("-J", f"size={JOURNAL_MB}") if journal else ("-O", "^has_journal")
        search = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
        argv = ["env", f"PATH={search}", "mkfs.ext4", "-q", "-F", "-m", "0", "-E", EXTENDED, *options, *filled, path]
        result = spawn.run_tool(argv)
        if result.returncode:
            reason = result.stderr.strip() or "mkfs.ext4 failed"
            full = "no space" in reason.lower()
            hint = f"make room where {path} is" if full else "apt-get install e2fsprogs"
            raise HostUnfit(f"the scratch disk cannot be formatted: {reason}", hint=hint)
        os.fsync(fd)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def copy_sparse(source: str, target: str) -> None:
    """Copy a file extent by extent, sharing blocks where the file system can."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(reading).st_size
            os.ftruncate(writing, size)
            for start, end in extents(reading, size):
                copy_range(reading, writing, start, end)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def extents(fd: int, size: int) -> list[tuple[int, int]]:
    """Return the parts of a file that hold data, as (start, end)."""
    found = []
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError:
            break
        offset = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, offset))
    return found


def copy_range(reading: int, writing: int, start: int, end: int) -> None:
    """Copy bytes between files, in the kernel where it can."""
    while start < end:
        try:
            copied = os.copy_file_range(reading, writing, end - start, start, start)
        except OSError:
            copied = os.pwrite(writing, os.pread(reading, min(CHUNK_BYTES, end - start), start), start)
        if not copied:
            raise OSError(5, "the file became shorter")
        start += copied
