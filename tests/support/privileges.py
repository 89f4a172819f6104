"""What the kernel tests need of this machine, found by trying it."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
LAUNCHER = Path(__file__).parents[2] / "src/twinhull/bin/launcher"


@functools.cache
def missing() -> tuple[str, ...]:
    """Say what this process may not do here; empty means that the kernel tests can run."""
    if os.geteuid() != 0:
        return ("root",)
    lacks = []
    if not may_unshare(CLONE_NEWNS | CLONE_NEWNET):
        lacks.append("new mount and network namespaces")
    if "overlay" not in Path("/proc/filesystems").read_text() and not Path("/sys/module/overlay").exists():
        lacks.append("overlayfs")
    if "cgroup2" not in Path("/proc/self/mountinfo").read_text():
        lacks.append("a cgroup v2 hierarchy")
    if not LAUNCHER.exists():
        lacks.append("the launcher (make launcher)")
    return tuple(lacks)


def may_unshare(flags: int) -> bool:
    """True if a child of ours gets these namespaces."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(flags) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
