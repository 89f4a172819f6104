"""A state directory on a small file system, which a test fills up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import Twinhull
from tests.support.vm import wait_until

FILL = "fill"  # the file that takes all the room that is left


@contextmanager
def small(place: Path, size_mib: int) -> Iterator[Twinhull]:
    """The command with its state there; at the end its workloads are removed, and the file system unmounted."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=700", "small", place], check=True)
    command = Twinhull(place)
    yield command
    (place / FILL).unlink(missing_ok=True)
    command.remove_all()
    # The holder of a template has its memory from here, and takes a moment to end.
    wait_until(lambda: subprocess.run(["umount", place], check=False).returncode == 0, "the end of all users")


def fill(place: Path) -> None:
    """Leave no room."""
    with (place / FILL).open("wb") as file:
        subprocess.run(["dd", "if=/dev/zero", "bs=4k"], stdout=file, stderr=subprocess.DEVNULL, check=False)
