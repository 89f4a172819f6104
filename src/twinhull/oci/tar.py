"""The tar formats that layers come in: ustar, pax and GNU, as a stream. Pure.

Promise: memory stays bounded whatever the bytes are, and what is not understood is refused, never
guessed at. Names are bytes, as the kernel's are. Nothing is judged here but the format: names, links
and attributes are as hostile as their author.

Source: POSIX pax(1), "ustar Interchange Format" and "pax Header Block"; GNU tar manual, appendix D.
"""

from __future__ import annotations

from struct import Struct

from twinhull.errors import RegistryError
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    Kind = Literal["file", "directory", "symlink", "hardlink", "character", "block", "fifo"]

BLOCK_BYTES = 512
ZEROES = bytes(BLOCK_BYTES)
MAX_META_BYTES = 1 << 20  # of one pax header or long name; the kernel's limit of all xattrs is 64 KiB each
MAX_SPARSE_PARTS = 1 << 16
MAX_DEFAULTS = 64  # records of global pax headers
MAX_NUMBER = 1 << 62
# name mode uid gid size mtime | type link | magic | major minor prefix (checksum, version and names are not needed)
HEADER = Struct("100s8s8s8s12s12s8xc100s8s64x8s8s155s12x")
GNU_MAGIC = b"ustar  \0"

KINDS: dict[bytes, Kind] = {
    b"\0": "file",
    b"0": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "character",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
    b"7": "file",
    b"S": "file",
}


class Header(NamedTuple):
    """One entry. `sparse` has (offset, length) of the stored parts, None if all is stored."""

    name: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    size_bytes: int  # of the file as it will be
    mtime_ns: int
    link: bytes
    major: int
    minor: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    sparse: tuple[tuple[int, int], ...] | None


def broken(what: str) -> RegistryError:
    """The error for a stream that is no tar."""
    return RegistryError(f"not a proper tar archive: {what}")


class Stream:
    """Bytes that arrive in chunks of any size, empty ones too, taken in the amounts a tar needs."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.chunk = b""
        self.position = 0

    def exactly(self, count: int) -> bytes:
        """Return `count` bytes, or b"" at a clean end.

        Raises:
            RegistryError: the stream ends in the middle.
        """
        end = self.position + count
        if end <= len(self.chunk):
            taken = self.chunk[self.position : end]
            self.position = end
            return taken
        parts = [bytes(part) for part in self.pieces(count, may_end=True)]
        taken = b"".join(parts)
        if taken and len(taken) < count:
            raise broken("it ends in the middle of an entry")
        return taken

    def pieces(self, count: int, *, may_end: bool = False) -> Iterator[memoryview]:
        """Give the next `count` bytes in the pieces they came in, without copying."""
        while count:
            if self.position == len(self.chunk):
                self.chunk, self.position = next(filter(None, self.chunks), b""), 0
                if not self.chunk:
                    if may_end:
                        return
                    raise broken("it ends in the middle of a file")
            take = min(count, len(self.chunk) - self.position)
            piece = memoryview(self.chunk)[self.position : self.position + take]
            self.position += take
            count -= take
            yield piece

    def drain(self) -> None:
        """Read to the end: a digest is of everything, also of what follows the archive."""
        self.chunk, self.position = b"", 0
        for _ in self.chunks:
            pass


class Archive:
    """Iterates over the headers of a stream; between two of them `body` gives the stored bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.stream = Stream(chunks)
        self.unread = 0
        self.padding = 0
        self.defaults: dict[bytes, bytes] = {}  # of global pax headers

    def __iter__(self) -> Iterator[Header]:
        while (header := self.next_header()) is not None:
            yield header

    def body(self) -> Iterator[memoryview]:
        """Give the bytes stored for the current entry, once."""
        for piece in self.stream.pieces(self.unread):
            self.unread -= len(piece)
            yield piece

    def next_header(self) -> Header | None:
        """Pass over what was not read of the current entry and return the next one, None at the end."""
        pax: dict[bytes, bytes] = {}
        long_name = long_link = b""
        while True:
            for _ in self.body():
                pass
            self.stream.exactly(self.padding)
            self.padding = 0
            block = self.stream.exactly(BLOCK_BYTES)
            if not block or block == ZEROES:
                self.stream.drain()
                return None
            verify_checksum(block)
            kind = block[156:157]
            if kind == b"x":
                pax = parse_pax(self.meta(block))
            elif kind == b"g":
                self.defaults.update(parse_pax(self.meta(block)))
                if len(self.defaults) > MAX_DEFAULTS:
                    raise broken("too many global records")
            elif kind == b"L":
                long_name = self.meta(block).partition(b"\0")[0]
            elif kind == b"K":
                long_link = self.meta(block).partition(b"\0")[0]
            else:
                return self.finish(block, {**self.defaults, **pax} if self.defaults else pax, long_name, long_link)

    def meta(self, block: bytes) -> bytes:
        """Return the body of a header that describes the next one."""
        size = number(block[124:136])
        if size > MAX_META_BYTES:
            raise broken(f"a header of {size} bytes")
        content = self.stream.exactly(size)
        if len(content) < size:
            raise broken("it ends in the middle of a header")
        self.padding = -size % BLOCK_BYTES
        return content

    def finish(self, block: bytes, pax: dict[bytes, bytes], long_name: bytes, long_link: bytes) -> Header:
        """Put one entry together from all that was said about it."""
        name, mode, uid, gid, size, mtime, letter, link, magic, major, minor, prefix = HEADER.unpack(block)
        kind = KINDS.get(letter)
        if kind is None:
            raise broken(f"an entry of type {letter!r}")
        name = name.partition(b"\0")[0]
        if magic != GNU_MAGIC and prefix[0] and magic[:5] == b"ustar":
            name = prefix.partition(b"\0")[0] + b"/" + name
        name = long_name or pax.get(b"path", name)
        if kind == "file" and letter != b"S" and name.endswith(b"/"):
            kind = "directory"  # from before there was a type for it
        stored = decimal(pax[b"size"]) if b"size" in pax else number(size)
        size_bytes, self.unread = (stored, stored) if kind == "file" else (0, 0)
        self.padding = -self.unread % BLOCK_BYTES
        sparse = None
        if letter == b"S":
            size_bytes, sparse = self.gnu_sparse(block)
        elif pax and kind == "file" and any(key.startswith(b"GNU.sparse.") for key in pax):
            name = pax.get(b"GNU.sparse.name", name)
            size_bytes, sparse = self.pax_sparse(pax)
        if sparse is not None:
            verify_sparse(sparse, size_bytes, self.unread)
        return Header(
            without_nul(name),
            kind,
            number(mode) & 0o7777,
            decimal(pax[b"uid"]) if b"uid" in pax else number(uid),
            decimal(pax[b"gid"]) if b"gid" in pax else number(gid),
            size_bytes,
            pax_time(pax[b"mtime"]) if b"mtime" in pax else number(mtime, negative=True) * 1_000_000_000,
            without_nul(long_link or pax.get(b"linkpath", link.partition(b"\0")[0])),
            number(major) if kind in ("character", "block") else 0,
            number(minor) if kind in ("character", "block") else 0,
            tuple((key[13:], value) for key, value in pax.items() if key.startswith(b"SCHILY.xattr.")) if pax else (),
            sparse,
        )

    def gnu_sparse(self, block: bytes) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Read the map of the old GNU format: in the header and in blocks that follow it."""
        fields, more = block[386:482], block[482]
        parts: list[tuple[int, int]] = []
        while True:
            for start in range(0, len(fields) - 23, 24):
                if not fields[start : start + 24].strip(b"\0"):
                    break
                parts.append((number(fields[start : start + 12]), number(fields[start + 12 : start + 24])))
            if not more:
                return number(block[483:495]), tuple(parts)
            if len(parts) > MAX_SPARSE_PARTS:
                raise broken("a sparse file of too many parts")
            extension = self.stream.exactly(BLOCK_BYTES)
            if not extension:
                raise broken("it ends in the middle of a sparse file's map")
            fields, more = extension[:504], extension[504]

    def pax_sparse(self, pax: dict[bytes, bytes]) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Read the map of GNU's pax formats 0.1 (in the header) and 1.0 (before the content)."""
        version = (pax.get(b"GNU.sparse.major", b"0"), pax.get(b"GNU.sparse.minor", b"1"))
        size = decimal(pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size", b""))
        if version == (b"1", b"0"):
            numbers = self.sparse_numbers()
        elif version == (b"0", b"1") and b"GNU.sparse.map" in pax:
            numbers = [decimal(word) for word in pax[b"GNU.sparse.map"].split(b",") if word]
        else:
            raise broken("a sparse file of an unknown format")
        if len(numbers) % 2 or len(numbers) > 2 * MAX_SPARSE_PARTS:
            raise broken("the map of a sparse file is odd or too long")
        return size, tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def sparse_numbers(self) -> list[int]:
        """Read the decimal lines that format 1.0 puts before the content, in whole blocks."""
        text, wanted = b"", 1
        while text.count(b"\n") < wanted:
            if self.unread < BLOCK_BYTES or len(text) > MAX_META_BYTES * 2:
                raise broken("the map of a sparse file has no end")
            text += self.stream.exactly(BLOCK_BYTES)
            self.unread -= BLOCK_BYTES
            first, newline, _ = text.partition(b"\n")
            if newline:
                wanted = 1 + 2 * decimal(first)
            if wanted > 2 * MAX_SPARSE_PARTS:
                raise broken("a sparse file of too many parts")
        return [decimal(line) for line in text.split(b"\n")[1:wanted]]


def verify_checksum(block: bytes) -> None:
    """Refuse a header whose sum is wrong; some old tars added the bytes as signed."""
    said = number(block[148:156])
    total = sum(block) - sum(block[148:156]) + 8 * 32
    if total != said:
        signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if signed != said:
            raise broken("a header's checksum is wrong")


def number(field: bytes, *, negative: bool = False) -> int:
    """Read a field: octal text, or GNU's base 256 with the top bit set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=True) if field[0] == 0xFF else int.from_bytes(field, "big")
        if field[0] != 0xFF:
            value &= (1 << (8 * len(field) - 1)) - 1
        if not (-MAX_NUMBER if negative else 0) <= value < MAX_NUMBER:
            raise broken("a number is out of range")
        return value
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    if text.strip(b"01234567"):
        raise broken("a number in a header is none")
    return int(text, 8)


def decimal(text: bytes) -> int:
    """Read a number of a pax header."""
    if not text or len(text) > 19 or text.strip(b"0123456789"):
        raise broken(f"{text[:32]!r} is not a number")
    return int(text)


def pax_time(text: bytes) -> int:
    """Read seconds with an optional fraction, as nanoseconds; digits after the ninth are dropped."""
    seconds, _, fraction = text.partition(b".")
    sign = -1 if seconds.startswith(b"-") else 1
    value = decimal(seconds.removeprefix(b"-")) * 1_000_000_000 + decimal(fraction[:9].ljust(9, b"0"))
    if value >= MAX_NUMBER:
        raise broken("a time is out of range")
    return sign * value


def parse_pax(content: bytes) -> dict[bytes, bytes]:
    """Read the records "LENGTH KEY=VALUE\\n" of a pax header."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(content):
        space = content.find(b" ", position, position + 20)
        if space < 0:
            raise broken("a pax record without length")
        end = position + decimal(content[position:space])
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if end > len(content) or end <= space + 1 or not equals or content[end - 1] != 10:
            raise broken("a pax record of a wrong length")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            raise broken("a sparse file of format 0.0")
        records[key] = value
        position = end
    return records


def verify_sparse(parts: tuple[tuple[int, int], ...], size_bytes: int, stored: int) -> None:
    """Refuse a map whose parts overlap, go back, leave the file or are not what is stored."""
    end = total = 0
    for offset, length in parts:
        if offset < end or offset + length > size_bytes:
            raise broken("the map of a sparse file is out of order")
        end = offset + length
        total += length
    if total != stored:
        raise broken("the map of a sparse file does not fit its content")


def without_nul(name: bytes) -> bytes:
    """Refuse what the kernel would cut."""
    if b"\0" in name:
        raise broken("a name with a NUL in it")
    return name
