"""The device nodes of this host, as a spec names them."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# What every workload has of its own below /dev.
OWN = frozenset(("console", "fd", "hugepages", "mqueue", "ptmx", "pts", "shm"))


def every_node(top: str = "/dev") -> list[dict[str, Any]]:
    """What --privileged shows: each node of the host's but those of terminals and memory."""
    return list(walk(top))


def walk(directory: str) -> Iterator[dict[str, Any]]:
    """The nodes of a directory and of those below it; what goes away meanwhile is left out."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if directory == "/dev" and entry.name in OWN:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path)
            elif row := node(entry.path, entry.stat(follow_symlinks=False)):
                yield row
        except OSError:
            continue


def node(path: str, status: os.stat_result) -> dict[str, Any] | None:
    """One entry of linux.devices, None for what is no device."""
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return None
    return {
        "path": path,
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
