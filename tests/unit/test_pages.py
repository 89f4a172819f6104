"""Which pages of a guest are its own, and the file that they are written to."""

from __future__ import annotations

import itertools
import mmap
import os
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import GuestError
from twinhull.plan.qemu import Drives, Machine, arguments
from twinhull.runtime import pages

PAGE = mmap.PAGESIZE
PRESENT, SWAPPED, FILES, SOFT_DIRTY = 1 << 63, 1 << 62, 1 << 61, 1 << 55
MAPS = """\
55d0c0a00000-55d0c0b00000 r-xp 00000000 08:01 131 /usr/bin/qemu-system-x86_64
7f0000000000-7f0008000000 rw-p 00000000 00:01 77 /memfd:template (deleted)
7f0008000000-7f0010000000 rw-p 08000000 00:01 77 /memfd:template (deleted)
7f0020000000-7f0020001000 rw-s 00000000 00:01 78 /memfd:template (deleted)
7f0030000000-7f0030001000 rw-p 00000000 00:00 0
"""


@given(st.lists(st.sampled_from([0, PRESENT, SWAPPED, PRESENT | FILES, SWAPPED | FILES, FILES, SOFT_DIRTY | 42])))
def test_own_are_the_pages_that_are_there_and_not_the_files(entries: list[int]) -> None:
    found = pages.own_ranges(b"".join(pack("<Q", entry) for entry in entries))
    own = {index for index, entry in enumerate(entries) if entry & (PRESENT | SWAPPED) and not entry & FILES}
    assert {index for first, end in found for index in range(first, end)} == own
    assert all(end < first for (_, end), (first, _) in itertools.pairwise(found))


def test_the_kernel_says_so_of_what_was_written_to_a_private_mapping(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"x" * 8 * PAGE)
        file.flush()
        with mmap.mmap(file.fileno(), 8 * PAGE, mmap.MAP_PRIVATE) as memory:
            assert memory[3 * PAGE] == ord("x")  # only read
            memory[PAGE] = memory[2 * PAGE] = memory[7 * PAGE] = 1
            lines = Path("/proc/self/maps").read_text().splitlines()
            start = int(next(line for line in lines if line.endswith(str(tmp_path / "file"))).split("-")[0], 16)
            with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
                pagemap.seek(start // PAGE * pages.ENTRY_BYTES)
                entries = pagemap.read(8 * pages.ENTRY_BYTES)
    assert pages.own_ranges(entries) == [(1, 3), (7, 8)]


def test_the_memory_of_a_guest_is_found_by_its_private_mappings() -> None:
    found = pages.parse_maps(MAPS, 256 << 20)
    assert [mapping.offset for mapping in found] == [0, 0x8000000]
    assert pages.covers(found, 256 << 20)
    assert not pages.covers(found, 512 << 20)
    assert not pages.covers(found[1:], 128 << 20)
    assert pages.covers(pages.parse_maps("", 0), 0)


def test_what_an_imprint_lays_over_a_guest_s_memory_is_its_own() -> None:
    text = """\
7f0000000000-7f0000001000 rw-p 00000000 00:01 9 /memfd:imprint (deleted)
7f0000100000-7f0000102000 rw-p 00000000 00:01 7 /memfd:template (deleted)
7f0000102000-7f0000103000 rw-p 00005000 00:01 9 /memfd:imprint (deleted)
7f0000103000-7f0000104000 rw-p 00003000 00:01 7 /memfd:template (deleted)
7f0000104000-7f0000105000 rw-p 00007000 00:01 9 /memfd:imprint (deleted)
"""
    found = pages.parse_maps(text, 0x4000)
    assert [(mapping.offset, mapping.own) for mapping in found] == [(0, False), (0x2000, True), (0x3000, False)]
    assert pages.covers(found, 0x4000)


def index(*ranges: tuple[int, int], content: int | None = None) -> bytes:
    """A file of these ranges, each page full of its number."""
    total = sum(end - first for first, end in ranges) if content is None else content
    head = pages.COUNT.pack(len(ranges)) + b"".join(pages.RANGE.pack(*each) for each in ranges)
    return head + b"p" * total


def read(path: Path, text: bytes) -> list[tuple[int, int]]:
    path.write_bytes(text)
    fd = os.open(path, os.O_RDONLY)
    try:
        return pages.read_index(fd, 16 * PAGE)
    finally:
        os.close(fd)


def test_an_index_says_where_the_pages_belong(tmp_path: Path) -> None:
    ranges = [(0, PAGE), (3 * PAGE, 16 * PAGE)]
    assert read(tmp_path / "pages", index(*ranges)) == ranges
    assert read(tmp_path / "pages", index()) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"short",
        index((0, PAGE))[:-1],
        index((0, PAGE)) + b"x",
        index((0, 17 * PAGE)),
        index((PAGE, PAGE), content=0),
        index((2 * PAGE, PAGE), content=0),
        index((0, 2 * PAGE), (PAGE, 3 * PAGE)),
        index((1, PAGE + 1)),
        pages.COUNT.pack(1 << 63),
        pages.COUNT.pack(4) + b"\0" * 16,
    ],
)
def test_a_damaged_file_of_pages_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(GuestError, match="memory"):
        read(tmp_path / "pages", text)


def test_a_copy_has_the_words_of_a_restored_guest_and_one_more() -> None:
    machine, drives = Machine("tcg", 1, 256 << 20), Drives()
    restored = arguments(machine, memory="restored", drives=drives, binary="/q")
    copied = arguments(machine, memory="copied", drives=drives, binary="/q")
    assert [word for word in copied if word not in restored] == ["-global", "migration.send-configuration=off"]
    assert [word for word in restored if word not in copied] == []
