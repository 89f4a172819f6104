"""Files between the engine and the launcher's tools: one record a file, its content behind it. Pure.

Promise: every length is bounded before it is believed; names are bytes and are not judged here.
docs/plan-format.md ("Tools") has the form.
"""

from __future__ import annotations

from struct import Struct

from twinhull.errors import GuestError, InvalidRequest, RegistryError
from twinhull.oci.tar import Header
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinhull.oci.tar import Kind, Stream

HEAD = Struct("<10IqQ")
ENTRY, CHANGED, DELETED, IMPLIED, END, ERROR, HARDLINK = range(1, 8)
MAX_NAME_BYTES, MAX_CAPABILITY_BYTES = 4096, 64
CAPABILITY = b"security.capability"
S_IFMT = 0o170000  # inode(7)
TYPES: dict[Kind, int] = {
    "fifo": 0o010000,
    "character": 0o020000,
    "directory": 0o040000,
    "block": 0o060000,
    "file": 0o100000,
    "symlink": 0o120000,
}
KINDS = {number: kind for kind, number in TYPES.items()}


class Record(NamedTuple):
    """One file. `mode` has the type in it; of an ERROR it is the errno, and `name` what it is about."""

    tag: int
    mode: int = 0
    uid: int = 0
    gid: int = 0
    major: int = 0
    minor: int = 0
    mtime_ns: int = 0
    name: bytes = b""
    link: bytes = b""
    capability: bytes = b""
    size_bytes: int = 0

    @property
    def kind(self) -> Kind | None:
        """As a tar calls it; None for what no tar has."""
        return KINDS.get(self.mode & S_IFMT)


def encode(record: Record) -> bytes:
    """The record without content."""
    seconds, nanoseconds = divmod(record.mtime_ns, 1_000_000_000)
    lengths = (len(record.name), len(record.link), len(record.capability))
    head = HEAD.pack(*record[:6], nanoseconds, *lengths, seconds, record.size_bytes)
    return head + record.name + record.link + record.capability


def decode(stream: Stream) -> Record:
    """Return the next record of a stream.

    Raises:
        GuestError: it is none.
    """
    head = exactly(stream, HEAD.size)
    fields = HEAD.unpack(head)
    lengths = fields[7:10]
    known = ENTRY <= fields[0] <= HARDLINK
    if not known or max(lengths[:2]) >= MAX_NAME_BYTES or lengths[2] > MAX_CAPABILITY_BYTES or fields[6] >= 10**9:
        raise GuestError("the workload's side has sent what is no record of a file")
    name, link, capability = (exactly(stream, length) if length else b"" for length in lengths)
    if b"\0" in name or b"\0" in link or fields[11] > 1 << 62:
        raise GuestError("the workload's side has sent what is no record of a file")
    mtime_ns = fields[10] * 1_000_000_000 + fields[6]
    return Record._make((*fields[:6], mtime_ns, name, link, capability, fields[11]))


def exactly(stream: Stream, count: int) -> bytes:
    """So many bytes.

    Raises:
        GuestError: the stream has ended.
    """
    try:
        taken = stream.exactly(count)
    except RegistryError:
        taken = b""
    if len(taken) < count:
        raise GuestError("the workload's side ended in the middle of its files")
    return taken


def decoded(stream: Stream) -> Iterator[Record]:
    """Give the records up to the END; whoever takes one reads its content with stream.pieces before the next.

    The ERROR at the end is given too.
    """
    while (record := decode(stream)).tag != END:
        yield record
        if record.tag == ERROR:
            return


def header_of(record: Record, name: bytes) -> Header:
    """The record as a tar has it, under another name."""
    kind = record.kind
    assert kind, "the caller has asked"
    return Header(
        name,
        "hardlink" if record.tag == HARDLINK else kind,
        record.mode & 0o7777,
        record.uid,
        record.gid,
        0 if record.tag == HARDLINK else record.size_bytes,
        record.mtime_ns,
        record.link,
        record.major,
        record.minor,
        ((CAPABILITY, record.capability),) if record.capability else (),
        None,
    )


def record_of(header: Header, name: bytes, link: bytes) -> Record:
    """The inverse, for an entry of an archive that somebody wrote."""
    capability = dict(header.xattrs).get(CAPABILITY, b"")[:MAX_CAPABILITY_BYTES]
    if header.kind == "hardlink":
        return Record(HARDLINK, TYPES["file"], name=name, link=link)
    if header.sparse is not None:
        raise InvalidRequest(f"{name.decode(errors='replace')!r} is a sparse file of GNU tar's own format")
    return Record(
        ENTRY,
        TYPES[header.kind] | header.mode & 0o7777,
        header.uid,
        header.gid,
        header.major,
        header.minor,
        max(header.mtime_ns, 0),
        name,
        header.link if header.kind == "symlink" else b"",
        capability if header.kind == "file" else b"",
        header.size_bytes if header.kind == "file" else 0,
    )


def tar_header(header: Header) -> bytes:
    """The blocks before an entry's content, in pax form."""
    import tarfile

    letters = {"file": b"0", "hardlink": b"1", "symlink": b"2", "character": b"3", "block": b"4", "directory": b"5"}
    info = tarfile.TarInfo(header.name.decode("utf-8", "surrogateescape"))
    info.type = letters.get(header.kind, b"6")
    info.mode, info.uid, info.gid, info.size = header.mode, header.uid, header.gid, header.size_bytes
    info.mtime = header.mtime_ns / 1e9 if header.mtime_ns % 10**9 else header.mtime_ns // 10**9
    info.linkname = header.link.decode("utf-8", "surrogateescape")
    info.devmajor, info.devminor = header.major, header.minor
    info.pax_headers = {
        f"SCHILY.xattr.{key.decode()}": value.decode("utf-8", "surrogateescape") for key, value in header.xattrs
    }
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size_bytes: int) -> bytes:
    """What fills an entry's last block."""
    return bytes(-size_bytes % 512)


def tar_of(rows: Iterator[tuple[Header, Callable[[], Iterator[memoryview]]]]) -> Iterator[bytes]:
    """The archive with these entries, in chunks."""
    for header, body in rows:
        yield tar_header(header)
        if header.kind == "file":
            for piece in body():
                yield bytes(piece)
            yield padding(header.size_bytes)
    yield bytes(1024)
