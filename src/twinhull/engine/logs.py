"""The log of a workload: what the shim wrote, read back, and followed while it grows."""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.engine.state import is_to_restart
from twinhull.host import locks
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import BinaryIO

POLL_S = 0.05
CHUNK_BYTES = 1 << 16


class Line(NamedTuple):
    """One record: `text` as the process wrote it, usually with its newline; `time` in RFC 3339."""

    text: str
    stream: str
    time: str


END_OF_TIME = "9"  # after any time as text

# Only one older file is kept: whoever reads more slowly than two are written misses what lay between.
LOST = Line("twinhull: the log was rotated faster than it was read; lines are missing here\n", "stderr", "")
# The shim leaves a mark when it drops the older file.
MARK = "log.lost"
EARLIER = Line("twinhull: what was written first is gone: the log keeps log_max_bytes, twice\n", "stderr", "")


def read(directory: str, *, follow: bool = False, tail: int = -1, since: str = "", until: str = "") -> Iterator[Line]:
    """Give the records of an instance directory, the rotated file first.

    Args:
        follow: go on until the workload ends, or that time is over.
        tail: so many records from the end, -1 for all.
        since: leave out what is older than this RFC 3339 time in UTC.
        until: leave out what is newer.
    """
    rotated_away = whole(f"{directory}/log.1")
    records, offset = tail_of(f"{directory}/log")
    last = until or END_OF_TIME
    if tail < 0 and not since and os.path.exists(f"{directory}/{MARK}"):
        yield EARLIER
    existing = [line for line in (*rotated_away, *records) if line.time <= last]
    for line in existing[len(existing) - tail :] if 0 <= tail < len(existing) else existing:
        if line.time >= since:
            yield line
    if follow:
        yield from (line for line in followed(directory, offset, last) if since <= line.time <= last or not line.time)


def now() -> str:
    """The time as the log has it, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def whole(path: str) -> list[Line]:
    """Every complete record of a file."""
    return tail_of(path)[0]


def tail_of(path: str) -> tuple[list[Line], int]:
    """Return the complete records of a file and where the next one begins."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return [], 0
    end = content.rfind(b"\n") + 1
    return [parse(line) for line in content[:end].splitlines()], end


def parse(line: bytes) -> Line:
    """One JSON record."""
    record = jsontext.loads(line)
    return Line(record["log"], record["stream"], record["time"])


def followed(directory: str, offset: int, last: str) -> Generator[Line, None, None]:
    """Give what is appended after `offset` until the supervisor is gone for good, or the time `last` is over.

    A rotation starts a new file.
    """
    path, rest = f"{directory}/log", b""
    file: BinaryIO | None = None
    try:
        while True:
            alive = locks.is_held(f"{directory}/alive") or is_to_restart(directory)
            if file is None and os.path.exists(path):
                file = open(path, "rb")  # noqa: SIM115 - it outlives this line: rotation replaces it
                file.seek(offset)
            if file is not None:
                while part := file.read(CHUNK_BYTES):
                    rest += part
                *lines, rest = rest.split(b"\n")
                yield from map(parse, lines)
                if rotated(file.fileno(), path):
                    file, rest, offset = older_than(file, f"{directory}/log.1"), b"", 0
                    if file is not None:
                        yield LOST
                    continue
            if not alive or (last != END_OF_TIME and now() > last):
                return
            time.sleep(POLL_S)
    finally:
        if file is not None:
            file.close()


def older_than(file: BinaryIO, path: str) -> BinaryIO | None:
    """Close a file that was rotated away; return the one at `path` if it was written after it."""
    with file:
        ours = os.fstat(file.fileno()).st_ino
    try:
        other = open(path, "rb")  # noqa: SIM115 - as above
    except FileNotFoundError:
        return None
    if os.fstat(other.fileno()).st_ino != ours:
        return other
    other.close()
    return None


def rotated(fd: int, path: str) -> bool:
    """True if the open file is no longer the one with this name."""
    try:
        return os.stat(path).st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
