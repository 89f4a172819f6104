"""`launcher imprint`: what it saves of a process, and what it refuses to. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "src/twinhull/bin/launcher"


def save(pid: int) -> subprocess.CompletedProcess[str]:
    """Save a process, which ends with that."""
    out = os.memfd_create("imprint", os.MFD_ALLOW_SEALING)
    try:
        words = [str(LAUNCHER), "imprint", str(pid), str(out)]
        return subprocess.run(words, pass_fds=(out,), capture_output=True, text=True, check=False, timeout=30)
    finally:
        os.close(out)


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("import mmap; keep = mmap.mmap(-1, 4096)", "its memory: Not supported"),
        ("import select; keep = select.epoll(); keep.register(0)", "its descriptors: Not supported"),
        ("import os; keep = os.pidfd_open(os.getpid())", "its descriptors: Not supported"),
    ],
)
def test_what_cannot_be_saved_is_said_in_a_line(program: str, what: str) -> None:
    words = [sys.executable, "-c", f"{program}; print(flush=True); import time; time.sleep(100)"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        done = save(process.pid)
        assert (done.returncode, done.stderr) == (1, f"imprint: {what}\n")
        assert process.wait(10) == -signal.SIGKILL, "it ends with whoever saved it"


def test_a_process_that_is_not_there_cannot_be_saved() -> None:
    done = save(2**22 + 1)
    assert done.returncode == 1 and "No such file" in done.stderr
    assert subprocess.run([LAUNCHER, "imprint"], capture_output=True, check=False, timeout=10).returncode == 125
