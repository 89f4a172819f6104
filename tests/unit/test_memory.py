"""What is a process's own, in the text of /proc/PID/smaps."""

from __future__ import annotations

import mmap
import os
import signal

from twinhull.host import memory

SIZES = (
    "Rss: 40 kB\nPss: {pss} kB\nPss_Dirty: 1 kB\nShared_Clean: 20 kB\n"
    "Private_Clean: {clean} kB\nPrivate_Dirty: {dirty} kB\n"
)
BIG = 64 << 20


def mapping(of: str, pss: int, clean: int, dirty: int) -> str:
    return f"7f00-7f10 r-xp 00000000 {of}\n{SIZES.format(pss=pss, clean=clean, dirty=dirty)}VmFlags: rd ex\n"


def test_memory_without_a_file_counts_by_pss_and_files_by_their_private_pages() -> None:
    assert memory.own(mapping("00:00 0", 5, 0, 1)) == 5 * 1024
    assert memory.own(mapping("00:00 0                  [heap]", 6, 0, 1)) == 6 * 1024
    assert memory.own(mapping("08:01 77                 /usr/lib/a b.so", 30, 2, 3)) == 5 * 1024
    assert memory.own(mapping("00:05 9                  /dev/zero (deleted)", 7, 0, 0)) == 7 * 1024
    assert memory.own(mapping("00:01 9                  /memfd:ram (deleted)", 30, 0, 4)) == 4 * 1024
    assert memory.own("") == 0


def test_what_forks_share_counts_once_and_not_for_nothing() -> None:
    """A child shares all of what its parent wrote: together they have it once."""
    before = memory.own_bytes([os.getpid()])
    with mmap.mmap(-1, BIG, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as written:
        written.write(b"x" * BIG)
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        try:
            both, one = memory.own_bytes([os.getpid(), child]), memory.own_bytes([os.getpid()])
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert abs(both - before - BIG) < BIG / 4
    assert one < both
