"""What `launcher init` says, and the descriptors that come along."""

from __future__ import annotations

import os
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket, socketpair

from twinhull.errors import SupervisorLost
from twinhull.host.spawn import memory_file, spawn
from twinhull.plan import frames
from twinhull.plan.codec import encode
from twinhull.plan.frames import Frame, Kind
from twinhull.runtime.oci.launcher import INIT_CLIENT_FD, INIT_DIRECTORY_FD, INIT_PLAN_FD, launcher
from twinhull.runtime.sandbox import launch_error
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinhull.plan.ops import Plan

DESCRIPTOR_BYTES = 4
TERMINAL, LISTENER = 0, 1


class Started(NamedTuple):
    """A process that waits for `start`, or of an exec one that runs. Descriptors: -1 where there is none."""

    pid: int
    terminal: int
    listener: int


def perform(
    plan: Plan,
    directory: str,
    *,
    join: int = 0,
    inherit: Mapping[int, int] | None = None,
    on_hooks: Callable[[int], None] | None = None,
) -> Started:
    """Have a plan performed; our standard streams are the process's.

    Args:
        join: the process whose namespaces it enters, 0 for a container of its own.
        inherit: numbers that the process shall see -> descriptors of ours.
        on_hooks: called with the pid where the plan awaits hooks.

    Raises:
        LaunchError: an op failed, and the process is gone; the cgroups are not.
    """
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    plan_fd = memory_file("plan", encode(plan.host + plan.child))
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    wanted = {number: number for number in range(3)} | dict(inherit or {})
    wanted |= {INIT_PLAN_FD: plan_fd, INIT_CLIENT_FD: theirs.fileno(), INIT_DIRECTORY_FD: directory_fd}
    argv = ["twinhull-init", "init", *(["--join", str(join)] if join else [])]
    try:
        pid = spawn(launcher(), argv, wanted)
    finally:
        theirs.close()
        os.close(plan_fd)
        os.close(directory_fd)
    try:
        started = converse(ours, on_hooks)
        os.waitpid(pid, 0)
        return started
    except BaseException:
        ours.close()
        reap()
        raise
    finally:
        ours.close()


def reap() -> None:
    """Collect every child of ours, the launcher and what it killed: until then a pid namespace does not end."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def converse(connection: socket, on_hooks: Callable[[int], None] | None) -> Started:
    """Listen until it has started, or has failed."""
    held = {TERMINAL: -1, LISTENER: -1}
    while True:
        frame, fd = receive(connection)
        if frame.kind == Kind.ERROR:
            raise launch_error(frame.payload)
        number = int.from_bytes(frame.payload[:4], "little")
        if frame.kind == Kind.DESCRIPTOR:
            held[number] = fd
        elif frame.kind == Kind.STARTED:
            if maker := int.from_bytes(frame.payload[4:8], "little"):
                os.waitpid(maker, 0)
            return Started(number, held[TERMINAL], held[LISTENER])
        elif frame.kind == Kind.READY and on_hooks:
            on_hooks(number)
            connection.sendall(frames.encode(Frame(Kind.START, 0)))


def receive(connection: socket) -> tuple[Frame, int]:
    """Return a frame and the descriptor that came with it, or -1."""
    header, ancillary, _, _ = connection.recvmsg(frames.HEADER.size, CMSG_SPACE(DESCRIPTOR_BYTES))
    if len(header) < frames.HEADER.size:
        raise SupervisorLost("the launcher ended without a word")
    fd = -1
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            fd = int.from_bytes(data[:DESCRIPTOR_BYTES], "little")
    length, stream, kind, flags = frames.HEADER.unpack(header)
    payload = b""
    while len(payload) < length:
        part = connection.recv(length - len(payload))
        if not part:
            raise SupervisorLost("the launcher ended in the middle of a word")
        payload += part
    return Frame(kind, stream, payload, flags), fd


def hand_over(path: str, fd: int, message: bytes) -> None:
    """Send a descriptor to whoever listens at a socket's path, and close ours."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(DESCRIPTOR_BYTES, "little"))])
    finally:
        connection.close()
        os.close(fd)
