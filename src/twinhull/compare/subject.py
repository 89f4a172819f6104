"""What is compared: something that runs a command in an image, and keeps an idle instance.

Promise: times are those of the whole command as a user types it, from before the process is made to
its first byte and to its end; whatever a subject started, it ends.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Protocol

from twinhull.config import Config
from twinhull.errors import TwinhullError
from twinhull.host import memory, spawn
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from typing import Literal

    Stream = Literal["stdout", "stderr"]

MAX_OUTPUT_BYTES = 1 << 20
AFTER_OUTPUT_S = 3.0  # a program that goes on for so long after its first output is a service
READ_BYTES = 1 << 16
STOP_S = "30"


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

    def first_s(self, stream: Stream) -> float | None:
        """When the first byte came on a stream."""
        return self.stdout_s if stream == "stdout" else self.stderr_s


class Service(NamedTuple):
    """When a program is taken for a service and ended: so long after its first output on one of the streams."""

    streams: tuple[Stream, ...] = ("stdout",)
    patience_s: float = AFTER_OUTPUT_S


class Idle(NamedTuple):
    """An instance that waits. `supervisor` is the pid of the process above all others of it."""

    name: str
    directory: str
    supervisor: int


class MeasurementFailed(TwinhullError):
    """One measurement could not be made; the message says why."""

    code = "measurement_failed"


class Subject(Protocol):
    """One side of the comparison."""

    name: str

    def run(self, image: str, command: Sequence[str], service: Service, *, timeout_s: float) -> Timing:
        """Run a command in a new instance and time it."""

    def begin(self, image: str, command: Sequence[str]) -> Run:
        """Start a run without waiting for it."""

    def start(self, image: str, command: Sequence[str]) -> Idle:
        """Start an instance in the background.

        Raises:
            MeasurementFailed: it did not start.
        """

    def stop(self, names: Sequence[str]) -> None:
        """End instances; those that ended by themselves are fine."""


class Run:
    """A command of ours while it runs, with the moments at which it wrote first and ended."""

    def __init__(self, argv: Sequence[str], end: Callable[[], None]) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.end_instance = end
        self.began = time.perf_counter()
        try:
            self.process: subprocess.Popen[bytes] = spawn.popen(argv, stdout=writer)
        finally:
            os.close(writer)
        assert self.process.stderr
        self.streams = {reader: bytearray(), self.process.stderr.fileno(): bytearray()}
        self.stdout = reader
        self.open = set(self.streams)
        self.moments: dict[Stream, float] = {}

    def wait(self, timeout_s: float, service: Service) -> Timing:
        """Read until it ends, or until it is clear that it will not."""
        while self.open and (left := self.deadline(timeout_s, service) - time.perf_counter()) > 0:
            self.read(left)
        return self.finish(ended=not self.open)

    def deadline(self, timeout_s: float, service: Service) -> float:
        """When to give up waiting for the end, by what has been written so far."""
        written = [self.moments[stream] for stream in service.streams if stream in self.moments]
        return self.began + min([timeout_s, *(moment + service.patience_s for moment in written)])

    def first_s(self, stream: Stream) -> float | None:
        """When the first byte came on a stream, so far."""
        return self.moments.get(stream)

    def read(self, timeout_s: float) -> None:
        """Take what is there, and note when the first of it came."""
        for fd in select.select(list(self.open), [], [], timeout_s)[0]:
            data = os.read(fd, READ_BYTES)
            if not data:
                self.open.discard(fd)
                continue
            self.moments.setdefault("stdout" if fd == self.stdout else "stderr", time.perf_counter() - self.began)
            if len(self.streams[fd]) < MAX_OUTPUT_BYTES:
                self.streams[fd] += data

    def finish(self, *, ended: bool) -> Timing:
        """Reap it; the instance of a service is ended."""
        total = None
        if ended:
            self.process.wait()
            total = time.perf_counter() - self.began
        else:
            self.process.kill()
            self.process.wait()
            self.end_instance()
        os.close(self.stdout)
        assert self.process.stderr
        complaint = bytes(self.streams[self.process.stderr.fileno()]).decode(errors="replace")
        self.process.stderr.close()
        output = bytes(self.streams[self.stdout])
        return Timing(
            self.moments.get("stdout"),
            self.moments.get("stderr"),
            total,
            self.process.returncode,
            output,
            last_line(complaint),
        )


class CommandLine:
    """A subject that is our own command with the flags of one isolation."""

    def __init__(
        self, name: str, config: Config, flags: Sequence[str], *, environment: Sequence[str] = (), prefix: str
    ) -> None:
        self.name = name
        self.config = config
        self.flags = tuple(flags)
        self.command = (*(("env", *environment) if environment else ()), *own_command())
        self.prefix = prefix
        self.count = 0

    def next_name(self) -> str:
        """A name that no other instance of this comparison has."""
        self.count += 1
        return f"{self.prefix}-{self.name.replace('_', '-')}-{self.count}"

    def begin(self, image: str, command: Sequence[str]) -> Run:
        """See Subject."""
        name = self.next_name()
        argv = (*self.command, "run", "--rm", "--name", name, *self.flags, image, *command)
        return Run(argv, lambda: self.stop([name]))

    def run(self, image: str, command: Sequence[str], service: Service, *, timeout_s: float) -> Timing:
        """See Subject."""
        return self.begin(image, command).wait(timeout_s, service)

    def start(self, image: str, command: Sequence[str]) -> Idle:
        """See Subject."""
        name = self.next_name()
        done = spawn.run_tool((*self.command, "run", "-d", "--rm", "--name", name, *self.flags, image, *command))
        identity = done.stdout.strip()
        if done.returncode != 0 or not identity:
            raise MeasurementFailed(last_line(done.stderr) or f"exit status {done.returncode}")
        directory = self.config.instance(identity)
        supervisor = memory.holder(f"{directory}/alive")
        if not supervisor:
            raise MeasurementFailed(f"{' '.join(command) or 'the default command'} ended at once")
        return Idle(name, directory, supervisor)

    def stop(self, names: Sequence[str]) -> None:
        """See Subject."""
        if names:
            spawn.run_tool(("timeout", STOP_S, *self.command, "rm", "-f", *names))


def own_command() -> tuple[str, ...]:
    """How our command is started from its entry script."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (sys.executable, "-IS", f"{package}/__main__.py")


def last_line(text: str) -> str:
    """The last line that says something; the hint below an error is not it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("hint:")]
    line = lines[-1].removeprefix("twinhull: ") if lines else ""
    return "".join(letter for letter in line if letter.isprintable())
