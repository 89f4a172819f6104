"""The client's end of the framed protocol: one conversation with a shim, whichever side it stands on.

Promise: an ERROR frame becomes the exception it means; a peer that vanishes becomes one too, never
a hang.
"""

from __future__ import annotations

import os

# The C module itself: the package around it builds its enumerations at import (3 ms).
from _socket import AF_UNIX, SOCK_STREAM, socket, socketpair
from _struct import Struct

from twinhull.errors import CommandNotExecutable, CommandNotFound, LaunchError, SupervisorLost, TwinhullError
from twinhull.plan import frames
from twinhull.plan.frames import ExitStatus, Flag, Frame, Kind

ERROR = Struct("<III")
EXIT = Struct("<III")
NUMBER = Struct("<I")
EPERM, ENOTDIR, EISDIR = 1, 20, 21  # the import of errno would be one more at each start
HOST_STREAM = 0xFFFFFFFF  # a VM's own process (QEMU), as opposed to its workload
CHUNK_BYTES = frames.MAX_PAYLOAD_BYTES


class Sandbox:
    """A connection to a shim. Streams: 0 is the main process, others are this connection's execs.

    It never reads past the frame it returns: the descriptor may be handed to `attach` at any time.
    """

    def __init__(self, connection: socket) -> None:
        self.connection = connection
        self.shim_pid = 0  # set where the shim is a child of this process

    def send(self, kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> None:
        """Send one frame."""
        try:
            self.connection.sendall(frames.encode(Frame(kind, stream, payload, flags)))
        except (BrokenPipeError, ConnectionResetError):
            raise lost() from None

    def offer(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
        """Send one frame to a peer that may have ended: what it said before can still be received."""
        try:
            self.send(kind, stream, payload)
        except SupervisorLost:
            pass

    def send_plan(self, kind: int, stream: int, plan: bytes, flags: int = 0) -> None:
        """Send an encoded plan in as many frames as it needs."""
        for start in range(0, len(plan), CHUNK_BYTES):
            last = Flag.LAST if start + CHUNK_BYTES >= len(plan) else 0
            self.send(kind, stream, plan[start : start + CHUNK_BYTES], flags | last)

    def receive(self) -> Frame:
        """Return the next frame.

        Raises:
            SupervisorLost: the supervisor is gone.
        """
        header = self.exactly(frames.HEADER.size)
        length, stream, kind, flags = frames.HEADER.unpack(header)
        if length > frames.MAX_PAYLOAD_BYTES:
            raise TwinhullError(f"a frame of {length} bytes from the supervisor: not our protocol")
        return Frame(kind, stream, self.exactly(length), flags)

    def exactly(self, count: int) -> bytes:
        """Return `count` bytes."""
        taken = b""
        while len(taken) < count:
            try:
                part = self.connection.recv(count - len(taken))
            except ConnectionResetError:
                part = b""
            if not part:
                raise lost()
            taken += part
        return taken

    def expect(self, kind: int, stream: int = 0) -> Frame:
        """Return the next frame of this kind and stream; others are passed over.

        Raises:
            LaunchError: the answer was an ERROR.
        """
        while True:
            frame = self.receive()
            if frame.kind == Kind.ERROR and frame.stream in (stream, HOST_STREAM):
                raise launch_error(frame.payload)
            if frame.kind == kind and frame.stream == stream:
                return frame

    def start(self, stream: int = 0) -> int:
        """Let the waiting process exec; return its pid in the pid namespace of its host."""
        self.send(Kind.START, stream)
        return self.pid(self.expect(Kind.STARTED, stream))

    def pid(self, frame: Frame) -> int:
        """The pid in a READY or STARTED frame."""
        (number,) = NUMBER.unpack_from(frame.payload)
        return int(number)

    def signal(self, number: int, *, everyone: bool = False) -> None:
        """Send a signal to the main process, or to every process of the workload."""
        self.send(Kind.SIGNAL, 0, NUMBER.pack(number), Flag.ALL if everyone else 0)

    def freeze(self, *, frozen: bool) -> None:
        """Pause or go on; return when the kernel has."""
        self.send(Kind.PAUSE, 0, NUMBER.pack(frozen))
        self.expect(Kind.PAUSE)

    def settle(self) -> None:
        """Return when everything sent so far has been acted upon.

        A peer that is left with unread frames of ours may find the connection reset before it reads them.
        """
        self.send(Kind.PING)
        self.expect(Kind.PING)

    def wait(self) -> ExitStatus:
        """Return how the main process ended."""
        self.send(Kind.WAIT)
        return exit_status(self.expect(Kind.EXIT))

    def reap(self) -> None:
        """Return when the shim has ended, if it is a child of this process."""
        if not self.shim_pid:
            return
        try:
            os.waitpid(self.shim_pid, 0)
        except ChildProcessError:
            pass  # somebody else's wait was faster
        self.shim_pid = 0

    def close(self) -> None:
        """End the conversation; the workload goes on."""
        self.connection.close()


def pair() -> tuple[Sandbox, socket]:
    """Return our end and the shim's end of a new conversation."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    return Sandbox(ours), theirs


def connect(directory: str) -> Sandbox:
    """Connect to the shim of an instance directory.

    The name goes through a descriptor: 108 bytes end sooner than paths.

    Raises:
        SupervisorLost: nobody listens.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{fd}/sock")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise lost() from None
    finally:
        os.close(fd)
    return Sandbox(connection)


def exit_status(frame: Frame) -> ExitStatus:
    """The status in an EXIT frame."""
    code, signal, oom = EXIT.unpack_from(frame.payload)
    return ExitStatus(code, signal, bool(oom))


def launch_error(payload: bytes) -> LaunchError:
    """The exception an ERROR frame stands for."""
    _, number, exit_code = ERROR.unpack_from(payload)
    text = payload[ERROR.size :].decode("utf-8", "replace")
    op, _, target = printable(text).partition(" ")
    kinds: dict[int, type[LaunchError]] = {126: CommandNotExecutable, 127: CommandNotFound}
    return kinds.get(exit_code, LaunchError)(op, target, number, hint=hint_for(op, target, number))


def hint_for(op: str, target: str, number: int) -> str:
    """What a user can do about an op that failed, "" where nothing is known."""
    if op == "bind" and number in (ENOTDIR, EISDIR):
        return "one is a directory and the other a file: -v shows a directory at a directory, and a file at a file"
    if op == "exec" and ": its interpreter " in target:
        return "add that file to the image, or mend the script's first line ('?' at its end is a carriage return)"
    if op == "rlimit" and number == EPERM:
        return "its hard limit is above what is allowed here: ulimit -H shows that, for NOFILE also sysctl fs.nr_open"
    return ""


def printable(text: str) -> str:
    """Without terminal escapes: a guest wrote this."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def lost() -> SupervisorLost:
    """The error for a peer that is not there any more."""
    return SupervisorLost("the workload's supervisor is gone", hint="twinhull ps --all shows what became of it")
