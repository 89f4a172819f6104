"""One command while it runs: when it wrote first, answered on a port, ended, and left nothing behind.

Promise: all moments are of one clock (CLOCK_MONOTONIC) and count from before the process is made, so
they are those of the whole command as a user types it.
"""

from __future__ import annotations

import fcntl
import os
import select
import time

from twinhull.compare import clocks
from twinhull.compare.answer import Answer
from twinhull.config import Config
from twinhull.host import spawn
from twinhull.host.facts import read
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    Stream = Literal["stdout", "stderr"]

MAX_OUTPUT_BYTES = 1 << 20
AFTER_OUTPUT_S = 3.0  # a program that goes on for so long after its first output is a service
CLEAN_S, CLEAN_LOOK_S = 10.0, 0.0002
LOOK_S = 0.01  # how often an answer is looked for while nothing is written
READ_BYTES = 1 << 16


class Service(NamedTuple):
    """When a program is taken for a service and ended.

    Attributes:
        streams: first output on any of them counts.
        patience_s: so long after that.
        port: an answer on this port of the workload counts as well; 0 for none.
        both: wait for output and answer, not for whichever comes first.
    """

    streams: tuple[Stream, ...] = ("stdout",)
    patience_s: float = AFTER_OUTPUT_S
    port: int = 0
    both: bool = False


class Timing(NamedTuple):
    """One run. A first byte is None if nothing was written; `total_s` is None if it was still running.

    Our own command writes to stderr as well: what came there first need not be the workload's.
    """

    stdout_s: float | None
    stderr_s: float | None
    total_s: float | None
    exit_code: int
    output: bytes
    complaint: str  # the last line on stderr
    answer_s: float | None = None
    marks: Mapping[str, float] = {}  # of the command's trace and its supervisor's end (compare.clocks)

    def first_s(self, stream: Stream) -> float | None:
        """When the first byte came on a stream."""
        return self.stdout_s if stream == "stdout" else self.stderr_s

    def moments(self, stream: Stream) -> dict[str, float]:
        """All marks of this run, with what was seen from outside."""
        seen = {clocks.FIRST: self.first_s(stream), clocks.ENDED: self.total_s}
        return {**self.marks, **{mark: moment for mark, moment in seen.items() if moment is not None}}


class Trace:
    """What a command of ours writes down about its start, and the end of its supervisor."""

    def __init__(self, path: str, config: Config) -> None:
        self.path, self.config = path, config
        self.alive = -1
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def variables(self) -> dict[str, str]:
        """What makes a command write it."""
        return {"TWINHULL_TRACE": self.path}

    def follow(self) -> None:
        """Take hold of what the supervisor locks while it lives, to see its end.

        Who it is would be in /proc/locks, which takes milliseconds to read: they would be in the times.
        """
        _, notes = clocks.parse_trace(read(self.path))
        if self.alive >= 0 or not notes.get("ready"):
            return
        try:
            self.alive = os.open(f"{self.config.instance(notes['ready'])}/alive", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            pass

    def address(self) -> str:
        """Where the workload can be asked; "" until it has begun, because a question before is slow to be repeated."""
        _, notes = clocks.parse_trace(read(self.path))
        return notes.get("address", "") if "started" in notes else ""

    def finish(self, began: float, *, ended: bool) -> dict[str, float]:
        """Return the marks in seconds; after the end of the command, wait for the supervisor's."""
        marks = clocks.since(began, clocks.parse_trace(read(self.path))[0])
        if self.alive >= 0:
            if ended and is_released(self.alive):
                marks[clocks.CLEAN] = time.monotonic() - began
            os.close(self.alive)
            self.alive = -1
        return marks


def is_released(fd: int) -> bool:
    """Wait until nobody holds the lock of a file; False if somebody does for long."""
    deadline = time.monotonic() + CLEAN_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(CLEAN_LOOK_S)
    return False


class Run:
    """A command while it runs, with the moments at which it wrote first and ended."""

    def __init__(
        self,
        argv: Sequence[str],
        end: Callable[[], None],
        *,
        environment: Mapping[str, str] | None = None,
        trace: Trace | None = None,
    ) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.end_instance, self.trace = end, trace
        self.answer: Answer | None = None
        self.began = time.monotonic()
        try:
            self.process: subprocess.Popen[bytes] = spawn.popen(argv, stdout=writer, environment=environment)
        finally:
            os.close(writer)
        assert self.process.stderr
        self.streams = {reader: bytearray(), self.process.stderr.fileno(): bytearray()}
        self.stdout = reader
        self.open = set(self.streams)
        self.firsts: dict[Stream, float] = {}

    def ask(self, target: Callable[[], tuple[str, int] | None]) -> None:
        """Ask on a port until there is an answer."""
        self.answer = Answer(target, self.began)
        self.answer.start()

    def wait(self, timeout_s: float, service: Service) -> Timing:
        """Read until it ends, or until it is clear that it will not."""
        try:
            while self.open and (left := self.deadline(timeout_s, service) - time.monotonic()) > 0:
                self.read(min(left, LOOK_S) if self.answer else left)
        except BaseException:
            self.process.kill()
            self.end_instance()
            raise
        finally:
            if self.answer:
                self.answer.stop()
        return self.finish(ended=not self.open)

    def deadline(self, timeout_s: float, service: Service) -> float:
        """When to give up waiting for the end, by what has been seen so far."""
        written = [self.firsts[stream] for stream in service.streams if stream in self.firsts]
        answered = self.answer.moment_s if self.answer else None
        seen = [*([min(written)] if written else []), *([answered] if answered is not None else [])]
        awaited = bool(service.streams) + (self.answer is not None) if service.both else 1
        ready = len(seen) >= max(awaited, 1)
        return self.began + (min(timeout_s, max(seen) + service.patience_s) if ready else timeout_s)

    def first_s(self, stream: Stream) -> float | None:
        """When the first byte came on a stream, so far."""
        return self.firsts.get(stream)

    def read(self, timeout_s: float) -> None:
        """Take what is there, and note when the first of it came."""
        for fd in select.select(list(self.open), [], [], timeout_s)[0]:
            data = os.read(fd, READ_BYTES)
            if not data:
                self.open.discard(fd)
                continue
            self.firsts.setdefault("stdout" if fd == self.stdout else "stderr", time.monotonic() - self.began)
            if self.trace:
                self.trace.follow()
            if len(self.streams[fd]) < MAX_OUTPUT_BYTES:
                self.streams[fd] += data

    def finish(self, *, ended: bool) -> Timing:
        """Reap it; the instance of a service is ended."""
        total = None
        if ended:
            self.process.wait()
            total = time.monotonic() - self.began
        else:
            self.process.kill()
            self.process.wait()
            self.end_instance()
        marks = self.trace.finish(self.began, ended=ended) if self.trace else {}
        os.close(self.stdout)
        assert self.process.stderr
        complaint = bytes(self.streams[self.process.stderr.fileno()]).decode(errors="replace")
        self.process.stderr.close()
        return Timing(
            self.firsts.get("stdout"),
            self.firsts.get("stderr"),
            total,
            self.process.returncode,
            bytes(self.streams[self.stdout]),
            last_line(complaint),
            self.answer.moment_s if self.answer else None,
            marks,
        )


def last_line(text: str) -> str:
    """The last line that says something; the hint below an error is not it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("hint:")]
    line = lines[-1].removeprefix("twinhull: ") if lines else ""
    return "".join(letter for letter in line if letter.isprintable())
