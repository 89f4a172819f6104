"""Hostile bytes into the tar parser: it answers with entries or a RegistryError, in bounded memory."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.layers import directory, entry, hardlink, symlink, tar
from twinhull.errors import RegistryError
from twinhull.oci.layer import kept_xattrs, place
from twinhull.oci.tar import Archive
from twinhull.store.decompress import decompressed

EXAMPLES = 2000
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
FIELDS = {"name": (0, 100), "mode": (100, 8), "uid": (108, 8), "size": (124, 12), "mtime": (136, 12)}
FIELDS |= {"type": (156, 1), "link": (157, 100), "magic": (257, 8), "major": (329, 8), "prefix": (345, 155)}
TYPES = st.sampled_from([b"0", b"1", b"2", b"5", b"x", b"g", b"L", b"K", b"S", b"\0", b"V", b"7"])


def seed(format: int) -> bytes:
    """A valid archive with something of everything."""
    attributes, content = entry("attributes", b"a" * 700)
    attributes.pax_headers = {"SCHILY.xattr.user.a": "1", "comment": "x" * 50}
    long = [entry("n" * 150, b"b"), symlink("l", "t" * 150)] if format != tarfile.USTAR_FORMAT else []
    return tar([directory("d"), (attributes, content), hardlink("h", "attributes"), *long, entry("end")], format)


def with_sum(block: bytearray) -> bytes:
    """Make a header's checksum right, so that the mutation gets past it."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def parse(content: bytes, size: int) -> None:
    """Read everything as unpacking would, without writing."""
    with contextlib.suppress(RegistryError):
        archive = Archive(pieces(content, size))
        for header in archive:
            with contextlib.suppress(RegistryError):
                place(header)
                kept_xattrs(header)
            assert sum(map(len, archive.body())) <= len(content)
            assert header.size_bytes >= 0


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@settings(max_examples=EXAMPLES)
@given(FORMATS, st.data())
def test_headers_with_a_field_of_noise_are_read_or_refused(format: int, data: st.DataObject) -> None:
    content = bytearray(seed(format))
    for _ in range(data.draw(st.integers(1, 3))):
        block = data.draw(st.integers(0, len(content) // 512 - 1)) * 512
        start, length = FIELDS[data.draw(st.sampled_from(sorted(FIELDS)))]
        value = data.draw(TYPES if length == 1 else st.binary(max_size=length))
        header = content[block : block + 512]
        header[start : start + len(value)] = value
        content[block : block + 512] = with_sum(header)
    parse(bytes(content), data.draw(st.sampled_from([100, 512, 1 << 20])))


@settings(max_examples=EXAMPLES)
@given(FORMATS, st.integers(0, 1 << 14), st.binary(min_size=1, max_size=40))
def test_archives_with_bytes_of_noise_are_read_or_refused(format: int, where: int, noise: bytes) -> None:
    content = seed(format)
    where %= len(content)
    parse(content[:where] + noise + content[where + len(noise) :], 4096)
    parse(content[:where] + noise + content[where:], 4096)


@settings(max_examples=EXAMPLES)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 99),
            st.sampled_from(
                [
                    b"path",
                    b"size",
                    b"uid",
                    b"mtime",
                    b"x",
                    b"linkpath",
                    b"GNU.sparse.major",
                    b"GNU.sparse.minor",
                    b"GNU.sparse.map",
                    b"GNU.sparse.realsize",
                    b"GNU.sparse.name",
                ]
            ),
            st.sampled_from([b"", b"0", b"1", b"7", b"-1", b"1.5", b"99999999999999999999", b"0,1", b"..", b"a\0b"]),
        ),
        max_size=5,
    )
)
def test_pax_records_of_all_kinds_are_read_or_refused(records: list[tuple[int, bytes, bytes]]) -> None:
    body = b""
    for skew, key, value in records:
        length = len(key) + len(value) + 3 + 2
        body += b"%d %s=%s\n" % (length if skew > 5 else skew, key, value)
    head = bytearray(tar([entry("pax", type=tarfile.XHDTYPE)], tarfile.USTAR_FORMAT)[:512])
    head[124:136] = b"%011o\0" % len(body)
    parse(with_sum(head) + body.ljust(-(-len(body) // 512) * 512, b"\0") + seed(tarfile.USTAR_FORMAT), 512)


@settings(max_examples=EXAMPLES // 4)
@given(st.sampled_from([b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b""]), st.binary(max_size=300))
def test_compressed_noise_is_refused_or_short(magic: bytes, noise: bytes) -> None:
    if magic[:1] in (b"\x28", b"\x50"):
        noise = noise[:20]  # a process for each: a few bytes say enough
    with contextlib.suppress(RegistryError):
        for chunk in decompressed(pieces(magic + noise, 64)):
            assert len(chunk) <= 1 << 20
