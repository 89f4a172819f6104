"""A disk that the firmware of a PC boots: a tree of files in one partition, behind GRUB.

Promise: nothing is mounted, no loop device is used and no program of the tree is run. GRUB's first sector and core lie
where a PC looks for them, before the partition; the core finds /boot/grub/grub.cfg in it.
"""

from __future__ import annotations

import os
from struct import Struct

from twinhull.errors import HostUnfit
from twinhull.host import files, spawn

PARTITION_AT_BYTES = 1 << 20  # where every tool of today begins, which leaves room for the core
SECTOR_BYTES = 512
LINUX = 0x83
ACTIVE = 0x80
BEYOND_CHS = b"\xfe\xff\xff"  # more than cylinders, heads and sectors can say
ENTRY = Struct("<B3sB3sII")
TABLE_AT, TABLE_BYTES = 446, 64
SIGNATURE = b"\x55\xaa"

GRUB_DIRECTORIES = ("/usr/lib/grub/i386-pc", "/usr/local/lib/grub/i386-pc")
PREFIX = "(hd0,msdos1)/boot/grub"
MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "linux", "configfile", "echo")
EXTENDED = f"offset={PARTITION_AT_BYTES},assume_storage_prezeroed=1,lazy_itable_init=0,lazy_journal_init=0"
JOURNAL_MB = 16
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INSTALL_HINT = "apt-get install mmdebstrap grub-pc-bin grub-common qemu-utils e2fsprogs"


def make_disk(tree: str, target: str, size_bytes: int) -> None:
    """Make a qcow2 file of a tree whose /boot/grub/grub.cfg boots it.

    Args:
        size_bytes: of the disk; only what the tree fills is stored.

    Raises:
        HostUnfit: a tool is missing or fails, or the tree is larger than the disk.
    """
    raw, core = f"{target}.raw", f"{target}.core"
    try:
        format_partition(tree, raw, size_bytes)
        run("grub-mkimage", "-O", "i386-pc", "-d", grub_directory(), "-p", PREFIX, "-o", core, *MODULES)
        write_start(raw, first_sectors(files.read(f"{grub_directory()}/boot.img"), files.read(core), size_bytes))
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target)
    finally:
        files.remove_file(raw)
        files.remove_file(core)


def first_sectors(boot: bytes, core: bytes, size_bytes: int) -> bytes:
    """Return what lies before the partition: the first sector with the table of partitions, and GRUB's core.

    Args:
        boot: GRUB's boot.img, which loads the core from the second sector; there is code of another medium's where
            the table belongs.

    Raises:
        HostUnfit: the core does not fit.
    """
    if len(boot) != SECTOR_BYTES or SECTOR_BYTES + len(core) > PARTITION_AT_BYTES:
        raise HostUnfit(f"GRUB's core of {len(core)} bytes does not fit before the partition")
    start = PARTITION_AT_BYTES // SECTOR_BYTES
    entry = ENTRY.pack(ACTIVE, BEYOND_CHS, LINUX, BEYOND_CHS, start, size_bytes // SECTOR_BYTES - start)
    return boot[:TABLE_AT] + entry.ljust(TABLE_BYTES, b"\0") + SIGNATURE + core


def format_partition(tree: str, raw: str, size_bytes: int) -> None:
    """Make a sparse file with the tree as ext4 in its partition."""
    fd = os.open(raw, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
    finally:
        os.close(fd)
    size = f"{(size_bytes - PARTITION_AT_BYTES) >> 10}k"
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-J", f"size={JOURNAL_MB}", "-E", EXTENDED, "-d", tree, raw, size
    )


def write_start(path: str, content: bytes) -> None:
    """Write to the beginning of a file that is there."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        files.write_all(fd, content)
    finally:
        os.close(fd)


def grub_directory() -> str:
    """Return where GRUB's parts for a PC's firmware lie.

    Raises:
        HostUnfit: they are not installed.
    """
    for directory in GRUB_DIRECTORIES:
        if os.path.exists(f"{directory}/boot.img"):
            return directory
    raise HostUnfit("GRUB for a PC's firmware is not installed", hint=INSTALL_HINT)


def find_tool(name: str) -> str:
    """Return the path of a program, wherever our caller's PATH leads.

    Raises:
        HostUnfit: it is not installed.
    """
    for directory in SEARCH.split(":"):
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    raise HostUnfit(f"{name} is not installed", hint=INSTALL_HINT)


def run(name: str, *words: str) -> None:
    """Run a tool that must succeed.

    Raises:
        HostUnfit: it is missing or failed; the message is its own.
    """
    done = spawn.run_tool([find_tool(name), *words])
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise HostUnfit(f"{name} failed: {said[-1] if said else f'exit status {done.returncode}'}")
