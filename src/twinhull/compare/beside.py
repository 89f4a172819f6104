"""Other measurements that run on this machine at the same time: they disturb each other's figures.

Promise: nothing is left of who was here: a measurement has a socket with an abstract name (unix(7)), which ends with
its process, and /proc/net/unix lists those of the same network namespace.
"""

from __future__ import annotations

import os
import socket

from twinhull.host.facts import read
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME = "twinhull-measures-"  # followed by the command and its process
KINDS = {"compare": "comparison", "prove": "run of prove"}


@contextmanager
def announced(command: str) -> Iterator[None]:
    """Let others see that this process measures, as long as the block lasts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        try:
            own.bind(f"\0{NAME}{command}-{os.getpid()}")
        except OSError:
            pass  # somebody took our name: the others are seen all the same
        yield


def others() -> dict[int, str]:
    """Process -> command of what measures here besides this process."""
    return parse(read("/proc/net/unix"), os.getpid())


def parse(table: str, own: int) -> dict[int, str]:
    """Read the text of /proc/net/unix; an abstract name is its last word, with an @ for the first byte."""
    found = {}
    for line in table.splitlines():
        command, _, pid = line.partition(f" @{NAME}")[2].partition("-")
        if command in KINDS and pid.isascii() and pid.isdecimal() and int(pid) != own:
            found[int(pid)] = command
    return found


def note(limits: list[str], seen: Iterable[tuple[int, str]]) -> list[str]:
    """Add a sentence for each that was not seen before, and return those that are new."""
    sentences = [
        f"Another {KINDS[command]} runs on this machine (process {pid}): the figures of both are disturbed."
        for pid, command in seen
    ]
    new = [sentence for sentence in sentences if sentence not in limits]
    limits += new
    return new
