"""Workloads behind a real shim, driven frame by frame.

`supervise(*command)` makes an instance directory, spawns the shim for a container of busybox and returns it
READY; `.start()` lets it run. Everything is killed at the end of the test, and the look for leaks follows.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from _socket import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import pytest

from tests.support.launch import MOUNTS, NAMESPACES, Launch, with_command
from twinhull.host.locks import is_held
from twinhull.host.spawn import spawn_shim
from twinhull.plan.codec import encode
from twinhull.plan.frames import ExitStatus, Flag, Frame, Kind
from twinhull.plan.ops import Op
from twinhull.runtime.sandbox import ERROR, Sandbox, connect, exit_status, pair

NUMBER = Struct("<I")
SIZE = Struct("<HH")
PATIENCE_S = 20.0
CGROUP = "/sys/fs/cgroup/unified/twinhull-test"


class Ended(NamedTuple):
    """All that a client saw of a process."""

    status: ExitStatus | None
    stdout: bytes
    stderr: bytes
    error: tuple[int, int, str] | None = None  # errno, exit code, text
    eof: bool = False

    @property
    def code(self) -> int | None:
        """The exit status, None after an error."""
        return self.status.code if self.status else None

    @property
    def refusal(self) -> str:
        """The text of the error, "" without one."""
        return self.error[2] if self.error else ""


class Client(Sandbox):
    """A conversation that gives credit back and collects output."""

    def __init__(self, connection: socket) -> None:
        connection.settimeout(PATIENCE_S)
        super().__init__(connection)
        self.unpaid: dict[int, int] = {}

    def feed(self, data: bytes, stream: int = 0) -> None:
        """Send stdin within the initial credit."""
        for start in range(0, len(data), 65536):
            self.send(Kind.STDIN, stream, data[start : start + 65536])

    def repay(self, stream: int, count: int) -> None:
        """Give credit back for output that was taken, in steps as a terminal client does."""
        self.unpaid[stream] = self.unpaid.get(stream, 0) + count
        if self.unpaid[stream] >= 65536:
            self.send(Kind.CREDIT, stream, NUMBER.pack(self.unpaid.pop(stream)))

    def collect(self, stream: int = 0, *, until: bytes = b"", pay: bool = True) -> Ended:
        """Take output until the end of the stream's process, or until stdout contains `until`."""
        outputs = {Kind.STDOUT: bytearray(), Kind.STDERR: bytearray()}
        eof = False
        while True:
            frame = self.receive()
            if frame.stream != stream:
                continue
            if frame.kind in (Kind.STDOUT, Kind.STDERR):
                outputs[frame.kind] += frame.payload
                if pay:
                    with contextlib.suppress(Exception):
                        self.repay(stream, len(frame.payload))
            eof = eof or frame.kind == Kind.EOF
            texts = bytes(outputs[Kind.STDOUT]), bytes(outputs[Kind.STDERR])
            if frame.kind == Kind.EXIT:
                return Ended(exit_status(frame), *texts, eof=eof)
            if frame.kind == Kind.ERROR:
                _, number, code = ERROR.unpack_from(frame.payload)
                return Ended(None, *texts, (number, code, frame.payload[ERROR.size :].decode()), eof)
            if until and until in texts[0]:
                return Ended(None, *texts)

    def drain(self) -> int:
        """Take output until none has come for half a second, without giving credit; return how much it was."""
        count = 0
        self.connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                count += len(self.receive().payload)
        self.connection.settimeout(PATIENCE_S)
        return count

    def resize(self, rows: int, columns: int, stream: int = 0) -> None:
        """Tell the terminal's size."""
        self.send(Kind.RESIZE, stream, SIZE.pack(rows, columns))

    def ask(self, kind: int, payload: bytes = b"") -> Frame:
        """Send a request and return the answer, which has the same kind."""
        self.send(kind, 0, payload)
        return self.expect(kind)

    def execute(self, *command: str, stream: int = 1, ops: Sequence[Op] = (), flags: int = 0) -> None:
        """Start a further process in the workload; STARTED or ERROR is still to be read."""
        plan = encode(with_command([Op("join"), *ops], command))
        self.send_plan(Kind.EXEC, stream, plan, flags)


class Shim:
    """One supervised workload."""

    def __init__(self, launch: Launch, name: str) -> None:
        self.launch = launch
        self.directory = launch.scratch / name
        self.directory.mkdir()
        self.exited = launch.scratch / f"{name}.exited"
        self.cgroup = f"{CGROUP}-{os.getpid()}-{name}"
        self.pid = 0
        self.client: Client
        self.clients: list[Client] = []

    def spawn(
        self,
        command: Sequence[str],
        *,
        stdin: int = 0,
        terminal: tuple[int, int] | None = None,
        flags: Sequence[str] = (),
        launcher: str = "",
        host: Iterable[Op] = (),
        undo: Iterable[Op] = (),
        fault: str = "",
        namespaces: int = NAMESPACES,
    ) -> None:
        """Spawn the shim; what it says is still to be read."""
        process = [Op("stdin", (stdin,)), *([Op("terminal", terminal)] if terminal else [])]
        ops = [Op("cgroup2", (self.cgroup,)), *host, *self.launch.root(mounts=MOUNTS, flags=namespaces)]
        ops += process
        last = (Op("kill-cgroup", (self.cgroup,)), Op("remove-cgroup", (self.cgroup,)))
        (self.directory / "undo").write_bytes(encode([*undo, *last]))
        ours, theirs = pair()
        self.client = self.remember(ours)
        directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        arguments = ("--exited", str(self.exited), *flags)
        os.environ["TWINHULL_FAULT"] = fault
        try:
            self.pid = spawn_shim(
                launcher or self.launch.launcher,
                plan=encode(with_command(ops, command)),
                client_fd=theirs.fileno(),
                directory_fd=directory_fd,
                flags=arguments,
            )
        finally:
            os.environ.pop("TWINHULL_FAULT")
            theirs.close()
            os.close(directory_fd)

    def remember(self, conversation: Sandbox) -> Client:
        """Return a client that is closed at the end of the test."""
        self.clients.append(Client(conversation.connection))
        return self.clients[-1]

    def start(self) -> Client:
        """Let the workload run; its first client is handed back."""
        self.client.start()
        return self.client

    def connect(self) -> Client:
        """Return a later client, greeted."""
        client = self.remember(connect(str(self.directory)))
        client.expect(Kind.HELLO)
        return client

    def attach(self, *, stdin: bool = False) -> Client:
        """Return a later client that gets output from now on."""
        client = self.connect()
        client.send(Kind.ATTACH, 0, b"", Flag.STDIN_OPEN if stdin else 0)
        client.ask(Kind.PING)
        return client

    def kill(self) -> None:
        """kill -9 the shim, and reap it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.reap()

    def reap(self) -> int | None:
        """Wait until the shim has ended; its exit status."""
        deadline = time.monotonic() + PATIENCE_S
        while self.pid and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if not pid:
                    time.sleep(0.002)
                    continue
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            self.pid = 0
        assert not self.pid, "the shim does not end"
        return None

    def undo(self) -> None:
        """Do as the next command does when a shim was lost."""
        if (self.directory / "undo").exists():
            self.launch.undo(Op("kill-cgroup", (self.cgroup,)), Op("remove-cgroup", (self.cgroup,)))

    def alive(self) -> bool:
        """True while the shim holds its lock."""
        return is_held(str(self.directory / "alive"))

    def record(self) -> dict[str, Any]:
        """The exit record."""
        parsed: dict[str, Any] = json.loads((self.directory / "exit").read_text())
        return parsed

    def log(self, name: str = "log") -> list[dict[str, str]]:
        """The records of the log."""
        text = (self.directory / name).read_text(encoding="utf-8") if (self.directory / name).exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def logged(self, stream: str = "stdout") -> str:
        """All that the log has of one output."""
        return "".join(record["log"] for record in self.log("log.1") + self.log() if record["stream"] == stream)

    def processes(self) -> list[int]:
        """Pids in the workload's cgroup."""
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in Path(f"{self.cgroup}/cgroup.procs").read_text().split()]
        return []


class Supervise:
    """Makes shims and ends them."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.shims: list[Shim] = []

    def spawn(self, *command: str, **options: Any) -> Shim:
        """Spawn a shim whose first words are still to be read."""
        shim = Shim(self.launch, f"instance{len(self.shims)}")
        self.shims.append(shim)
        shim.spawn(command, **options)
        return shim

    def __call__(self, *command: str, **options: Any) -> Shim:
        """Return a shim that is READY."""
        shim = self.spawn(*command, **options)
        shim.client.expect(Kind.READY)
        return shim

    def run(self, *command: str, **options: Any) -> tuple[Shim, Ended]:
        """Run a command to its end, as a first client that reads everything."""
        shim = self(*command, **options)
        ended = shim.start().collect()
        shim.reap()
        return shim, ended

    def end(self) -> None:
        """Kill what is left."""
        for shim in self.shims:
            for client in shim.clients:
                client.close()
            if shim.pid:
                shim.kill()
            shim.undo()


@pytest.fixture
def supervise(launch: Launch) -> Iterator[Supervise]:
    """Workloads behind shims, in a scratch directory of the test's own."""
    maker = Supervise(launch)
    yield maker
    maker.end()


def wait_until(what: Any, patience_s: float = PATIENCE_S) -> bool:
    """Wait for a condition; False: it never came."""
    deadline = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
