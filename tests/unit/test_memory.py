"""What is a process's own, in the text of /proc/PID/smaps."""

from __future__ import annotations

import mmap
import os
import signal
import time

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


def test_a_process_that_others_crowd_out_is_at_work_all_the_same() -> None:
    """Four on one processor: each has about a quarter of it, and is ready to run for all of the time."""
    cpu = min(os.sched_getaffinity(0))
    crowd = [busy_child(cpu) for _ in range(4)]
    try:
        before, began = times(crowd[0]), time.monotonic()
        time.sleep(1)
        took_s = time.monotonic() - began
        os.kill(crowd[0], signal.SIGSTOP)
        os.waitpid(crowd[0], os.WUNTRACED)
        stopped, states = times(crowd[0]), memory.states(crowd[0])
        time.sleep(0.1)
        later = times(crowd[0])
    finally:
        for pid in crowd:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert states == {"T"}
    assert stopped[0] - before[0] > 0.8 * took_s
    assert stopped[1] - before[1] < 0.6 * took_s
    assert later == stopped


def busy_child(cpu: int) -> int:
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {cpu})
        while True:
            pass
    return pid


def times(pid: int) -> tuple[float, float]:
    ready, ran = memory.runnable_time(pid), memory.precise_processor_time([pid])
    assert ready is not None and ran is not None
    return ready, ran
