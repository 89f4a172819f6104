"""The tar parser and the meaning of names, on archives that Python's tarfile and GNU tar wrote."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.layers import directory, entry, hardlink, symlink, tar
from twinhull.errors import RegistryError
from twinhull.oci.layer import Limits, clean, kept_xattrs, place
from twinhull.oci.tar import Archive, Header

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def in_pieces(content: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
        yield b""  # says nothing, and ends nothing


def read(content: bytes, size: int = 700) -> list[tuple[Header, bytes]]:
    archive = Archive(in_pieces(content, size))
    return [(header, b"".join(map(bytes, archive.body()))) for header in archive]


def header_of(content: bytes) -> Header:
    return read(content)[0][0]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [1, 511, 512, 1 << 20])
def test_entries_are_read_as_they_were_written(format: int, size: int) -> None:
    content = tar(
        [
            directory("d", mode=0o1777, uid=3, gid=4, mtime=5),
            entry("d/file", b"x" * 1000, mode=0o4755, uid=1000, gid=1001, mtime=1700000000),
            symlink("d/link", "../target"),
            hardlink("d/hard", "d/file"),
            entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            entry("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=17),
            entry("fifo", type=tarfile.FIFOTYPE),
        ],
        format,
    )
    found = read(content, size)
    kinds = [header.kind for header, _ in found]
    assert kinds == ["directory", "file", "symlink", "hardlink", "character", "block", "fifo"]
    file, body = found[1]
    assert (file.name, file.mode, file.uid, file.gid, file.size_bytes) == (b"d/file", 0o4755, 1000, 1001, 1000)
    assert (file.mtime_ns, body) == (1700000000 * 10**9, b"x" * 1000)
    assert [found[index][0].link for index in (2, 3)] == [b"../target", b"d/file"]
    assert found[4][0][8:10] == (1, 3)
    assert found[5][0][8:10] == (8, 17)


@pytest.mark.parametrize("format", FORMATS[1:])
def test_long_names_and_links_and_large_numbers_are_read(format: int) -> None:
    name, target = "n" * 200 + "/" + "ü" * 100, "t" * 300
    link, content = symlink(name, target)
    link.uid = 1 << 24
    header = header_of(tar([(link, content)], format))
    assert (header.name, header.link, header.uid) == (name.encode(), target.encode(), 1 << 24)


def test_a_prefix_is_part_of_the_name_in_ustar() -> None:
    name = "a" * 90 + "/" + "b" * 90
    assert header_of(tar([entry(name)], tarfile.USTAR_FORMAT)).name == name.encode()


def test_pax_times_have_nanoseconds_and_may_lie_before_1970() -> None:
    assert header_of(tar([entry("f", mtime=1.25)])).mtime_ns == 1_250_000_000
    info, content = entry("f")
    info.pax_headers = {"mtime": "-1.5"}
    assert header_of(tar([(info, content)])).mtime_ns == -1_500_000_000


def test_extended_attributes_come_as_bytes() -> None:
    info, content = entry("f")
    info.pax_headers = {"SCHILY.xattr.user.a": "1", "SCHILY.xattr.security.selinux": "label"}
    header = header_of(tar([(info, content)]))
    assert kept_xattrs(header) == ((b"user.a", b"1"),)


@pytest.mark.parametrize("name", ["trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.metacopy"])
def test_attributes_of_overlayfs_are_refused(name: str) -> None:
    info, content = entry("f")
    info.pax_headers = {f"SCHILY.xattr.{name}": "/etc"}
    with pytest.raises(RegistryError, match="attribute"):
        kept_xattrs(header_of(tar([(info, content)])))


@pytest.mark.parametrize("words", [["--format=gnu"], ["--format=posix"], ["--format=posix", "--sparse-version=0.1"]])
@pytest.mark.parametrize("parts", [1, 40])
def test_sparse_files_of_gnu_tar_are_read(tmp_path: Path, words: list[str], parts: int) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for number in range(parts):
            file.seek((number + 1) << 20)
            file.write(b"%04d" % number * 1024)
        file.truncate((parts + 3) << 20)
    made = subprocess.run(["tar", "-C", tmp_path, "-S", *words, "-cf", "-", "sparse"], capture_output=True, check=True)
    ((header, body),) = read(made.stdout, 65536)
    assert header.sparse is not None
    image = bytearray(header.size_bytes)
    stored = io.BytesIO(body)
    for offset, length in header.sparse:
        image[offset : offset + length] = stored.read(length)
    assert (header.name, bytes(image)) == (b"sparse", (tmp_path / "sparse").read_bytes())
    assert len(body) < 1 << 20


def test_an_archive_may_end_without_its_zero_blocks() -> None:
    whole = tar([entry("a", b"1"), entry("b", b"2")])
    assert len(read(whole.rstrip(b"\0") + bytes(511))) == 2


@pytest.mark.parametrize("cut", [100, 512 + 100, 512 + 512 + 100])
def test_an_archive_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(RegistryError, match="ends in the middle"):
        read(tar([entry("a", b"1" * 600), entry("b", b"2")])[:cut])


def test_everything_after_the_end_is_read_too() -> None:
    pieces = in_pieces(tar([entry("a")]) + b"rest" * 1000)
    assert len(list(Archive(pieces))) == 1
    assert next(pieces, None) is None


def forged(**fields: bytes) -> bytes:
    """A header with some fields overwritten and the checksum right."""
    places = {"name": 0, "mode": 100, "uid": 108, "size": 124, "type": 156, "magic": 257}
    block = bytearray(tar([entry("forged")])[:512])
    for key, value in fields.items():
        block[places[key] : places[key] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": b"M"},
        {"type": b"\xff"},
        {"size": b"99999999999\0"},
        {"size": b"\xff" * 12},
        {"size": b"\x80" + b"\xff" * 11},
        {"uid": b"0x10"},
        {"type": b"x", "size": b"77777777777\0"},
        {"type": b"L", "size": b"77777777777\0"},
    ],
)
def test_odd_headers_are_refused(fields: dict[str, bytes]) -> None:
    with pytest.raises(RegistryError):
        read(forged(**fields))


def test_a_wrong_checksum_is_refused() -> None:
    content = bytearray(tar([entry("a")]))
    content[0] ^= 1
    with pytest.raises(RegistryError, match="checksum"):
        read(bytes(content))


@pytest.mark.parametrize("record", [b"", b"5 a=1", b"99 a=1\n", b"7 a=1\n", b"x a=1\n", b"0 \n", b"6 a 1\n"])
def test_odd_pax_records_are_refused(record: bytes) -> None:
    meta = forged(type=b"x", size=b"%011o\0" % len(record))[:512] + record.ljust(512, b"\0")
    content = meta + tar([entry("a")])
    if not record:
        assert len(read(content[:512] + tar([entry("a")]))) == 1
        return
    with pytest.raises(RegistryError):
        read(content)


@given(st.binary(max_size=2048), st.integers(1, 600))
def test_any_bytes_are_an_archive_or_are_refused(content: bytes, size: int) -> None:
    try:
        read(content, size)
    except RegistryError:
        pass


@pytest.mark.parametrize(
    ("name", "path"),
    [(b"./a//b/", (b"a", b"b")), (b"/a", (b"a",)), (b".", ()), (b"", ()), (b"a/./b", (b"a", b"b"))],
)
def test_names_become_relative_paths(name: bytes, path: tuple[bytes, ...]) -> None:
    assert clean(name) == path


@pytest.mark.parametrize(
    "name", [b"..", b"a/../b", b"/../x", b"a/..", b"x" * 256, b"a/" * 300, b"/".join([b"x"] * 3000)]
)
def test_names_that_lead_out_or_are_too_long_are_refused(name: bytes) -> None:
    with pytest.raises(RegistryError):
        clean(name)


@pytest.mark.parametrize(
    ("name", "action", "path"),
    [
        ("a/b", "add", (b"a", b"b")),
        ("a/.wh.b", "whiteout", (b"a", b"b")),
        (".wh.b", "whiteout", (b"b",)),
        ("a/.wh..wh..opq", "opaque", (b"a",)),
        (".wh..wh..opq", "opaque", ()),
        (".wh..wh.plnk/1.2", "skip", (b".wh..wh.plnk", b"1.2")),
        (".wh..wh.aufs", "skip", (b".wh..wh.aufs",)),
    ],
)
def test_whiteouts_are_told_from_files(name: str, action: str, path: tuple[bytes, ...]) -> None:
    assert place(header_of(tar([entry(name)]))) == (action, path)


@pytest.mark.parametrize("name", [".wh.", "a/.wh..", "a/.wh...", ".wh.a/b", ".wh.a/.wh.b"])
def test_whiteouts_of_nothing_are_refused(name: str) -> None:
    with pytest.raises(RegistryError):
        place(header_of(tar([entry(name)])))


def test_limits_end_a_layer_that_asks_for_too_much() -> None:
    header = header_of(tar([entry("a", b"12345")]))
    limits = Limits(max_entries=2, max_bytes=100)
    limits.count(header)
    limits.count(header)
    with pytest.raises(RegistryError, match="too many"):
        limits.count(header)
    with pytest.raises(RegistryError, match="too large"):
        Limits(max_bytes=4).count(header)


def test_names_are_bytes_of_any_encoding() -> None:
    info, content = entry(os.fsdecode(b"caf\xe9"))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as writer:
        writer.addfile(info, io.BytesIO(content))
    assert header_of(archive.getvalue()).name == b"caf\xe9"
