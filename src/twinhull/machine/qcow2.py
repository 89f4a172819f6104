"""The header of a qcow2 file: what a disk says about itself, read before anything trusts it. Pure but for its errors.

Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

from struct import Struct

from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

MAGIC = b"QFI\xfb"
# magic, version, offset and length of the backing file's name, cluster bits, size, encryption
START = Struct(">4sIQIIQI")
# entries and offset of the first table, offset of the reference counts' table and its clusters
TABLES = Struct(">IQQI")
TABLES_AT = 36
ENTRY_BYTES = 8
FEATURES = Struct(">Q")  # incompatible ones, version 3
FEATURES_AT = 72
HEADER_BYTES = 104
SECTOR_BYTES = 512
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED = (1 << bit for bit in range(5))
# How other disks begin, to say what a file is that is not taken yet.
OTHERS = (
    (b"KDMV", "a VMDK disk"),
    (b"vhdxfile", "a VHDX disk"),
    (b"conectix", "a VHD disk"),
    (b"<<< ", "a VDI disk"),
    (b"QED\0", "a QED disk"),
)
BOOT_SIGNATURE_AT, BOOT_SIGNATURE = 510, b"\x55\xaa"


class Header(NamedTuple):
    """What matters of a header.

    Attributes:
        size_bytes: of the disk that a guest sees.
    """

    version: int
    size_bytes: int


def read_header(start: bytes, path: str) -> Header:
    """Return the header at the start of a file.

    Args:
        start: the first 1024 bytes, or all of a shorter file.
        path: for the errors.

    Raises:
        InvalidRequest: it is another format, or a disk that needs more than this one file.
    """
    if start[:4] != MAGIC:
        raise InvalidRequest(
            f"{path} is not a qcow2 disk: it looks like {kind_of(start)}",
            hint=f"qemu-img convert -O qcow2 {path} {path}.qcow2 makes one of most others",
        )
    if len(start) < FEATURES_AT:
        raise damaged(path, "its header is cut short")
    _, version, backing_at, _, cluster_bits, size_bytes, encryption = START.unpack_from(start)
    if version not in (2, 3) or not 9 <= cluster_bits <= 21:
        raise damaged(path, f"version {version} with clusters of 2^{cluster_bits} bytes")
    if backing_at:
        raise refused(path, "lies on another disk, its backing file")
    if encryption:
        raise InvalidRequest(f"{path} is encrypted", hint=f"qemu-img convert -O qcow2 {path} PLAIN.qcow2")
    check_features(start, version, path)
    if size_bytes < SECTOR_BYTES:
        raise InvalidRequest(f"{path} is a disk of {size_bytes} bytes: smaller than a sector")
    return Header(version, size_bytes)


def check_tables(start: bytes, length_bytes: int, path: str) -> None:
    """Refuse a file that is shorter than its own tables, as a download that broke off is.

    Args:
        start: as of `read_header`, which took it.
        length_bytes: of the file.

    Raises:
        InvalidRequest: a table is not in the file, or maps less than the whole disk.
    """
    _, version, _, _, cluster_bits, size_bytes, _ = START.unpack_from(start)
    entries, table_at, counts_at, counts_clusters = TABLES.unpack_from(start, TABLES_AT)
    extended = version >= 3 and bool(FEATURES.unpack_from(start, FEATURES_AT)[0] & EXTENDED)
    below_bits = cluster_bits - (4 if extended else 3)  # entries of a second table: 2 to the power of it
    if entries << (cluster_bits + below_bits) < size_bytes:
        raise damaged(path, "its table maps less than the whole disk")
    needed = max(table_at + entries * ENTRY_BYTES, counts_at + (counts_clusters << cluster_bits))
    if length_bytes < needed:
        raise damaged(path, f"its tables end at byte {needed}, the file at {length_bytes}: it was cut short")


def check_features(start: bytes, version: int, path: str) -> None:
    """Refuse what the disk asks of its reader beyond this one file, and what nobody knows.

    Raises:
        InvalidRequest: it keeps its data in another file, is damaged, or too new.
    """
    if version < 3:
        return
    if len(start) < HEADER_BYTES:
        raise damaged(path, "its header is cut short")
    (features,) = FEATURES.unpack_from(start, FEATURES_AT)
    if features & DATA_FILE:
        raise refused(path, "keeps its data in another file")
    if features & CORRUPT:
        raise damaged(path, "it is marked as corrupt")
    if unknown := features & ~(DIRTY | COMPRESSION | EXTENDED):
        raise damaged(path, f"it asks for features that nobody knows ({unknown:#x})")


def kind_of(start: bytes) -> str:
    """Say what a file may be."""
    for magic, name in OTHERS:
        if start.startswith(magic):
            return name
    if start[BOOT_SIGNATURE_AT : BOOT_SIGNATURE_AT + 2] == BOOT_SIGNATURE:
        return "a raw disk"
    return "a raw disk or no disk at all" if start else "an empty file"


def refused(path: str, why: str) -> InvalidRequest:
    """The error for a disk that would make QEMU open another file."""
    hint = f"qemu-img convert -O qcow2 {path} WHOLE.qcow2 makes one file of it, if you trust what it names"
    return InvalidRequest(f"{path} {why}, which is not followed", hint=hint)


def damaged(path: str, why: str) -> InvalidRequest:
    """The error for a header that says nothing useful."""
    return InvalidRequest(f"{path} is no qcow2 disk that can be used: {why}", hint=f"qemu-img check {path}")
