"""Run a program of ours, and kill it at a step: `step.py STEP PROGRAM WORD...`; `step.py list:FILE …` lists its steps.

A step is a system call that changes or tells something, before which it dies: one of each line that leads to such.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from types import FrameType
from typing import Any

PLACE = "/twinhull/"
CHANGES = frozenset(
    """mkdir mkfifo write rename unlink rmdir kill setns posix_spawn fork_exec waitpid flock ftruncate memfd_create
    pidfd_send_signal sendmsg sendall send recvmsg recv accept _accept bind connect listen open poll""".split()
)
CALLERS = 4
WANTED = sys.argv[1]
seen: set[str] = set()
LIST = open(WANTED.removeprefix("list:"), "w", buffering=1) if WANTED.startswith("list:") else None  # noqa: SIM115


def look(frame: FrameType, event: str, called: Any) -> None:
    """Before each call of what is not Python."""
    if event != "c_call" or called.__name__ not in CHANGES or PLACE not in frame.f_code.co_filename:
        return
    callers = [frame.f_code.co_name]
    while len(callers) < CALLERS and (back := frame.f_back):
        callers.append(f"{back.f_code.co_name}:{back.f_lineno}")
        frame = back
    step = f"{called.__name__}<{'<'.join(callers)}"
    if step == WANTED:
        os.kill(os.getpid(), signal.SIGKILL)
    if LIST and step not in seen:
        seen.add(step)
        LIST.write(step + "\n")


if __name__ == "__main__":
    sys.argv = sys.argv[2:]
    sys.setprofile(look)
    runpy.run_path(sys.argv[0], run_name="__main__")
