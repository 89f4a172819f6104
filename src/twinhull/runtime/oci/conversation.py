"""What `launcher init` says, and the descriptors that come along."""

from __future__ import annotations

import os
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket, socketpair

from twinhull.errors import InvalidRequest, SupervisorLost
from twinhull.host import files
from twinhull.host.spawn import memory_file, spawn
from twinhull.plan import frames
from twinhull.plan.codec import encode
from twinhull.plan.frames import Frame, Kind
from twinhull.runtime.oci.launcher import INIT_CLIENT_FD, launcher
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinhull.plan.ops import Plan

DESCRIPTOR_BYTES = 4
TERMINAL = 0  # else a seccomp listener
SIGKILL = 9


class Started(NamedTuple):
    """A process that waits for `start`, or of an exec one that runs; its terminal, or -1."""

    pid: int
    terminal: int


class Init(NamedTuple):
    """`launcher init`, which came up ahead of its plan: our end of its socket, and its pid."""

    fd: int
    pid: int


def perform(
    plan: Plan,
    directory: str,
    *,
    join: int = 0,
    inherit: Mapping[int, int] | None = None,
    init: Init | None = None,
    lock: int = -1,
    on_hooks: Callable[[int], None] | None = None,
    on_listener: Callable[[int, int], None] | None = None,
    on_maps: Callable[[int], None] | None = None,
    on_started: Callable[[int], None] | None = None,
) -> Started:
    """Have a plan performed; our standard streams are the process's.

    Args:
        join: the process whose namespaces it enters, 0 for a container of its own.
        inherit: numbers that the process shall see -> descriptors of ours.
        init: who performs it; None: it is started here.
        lock: the container's, held here; it holds that until it has done its work, should we be killed.
        on_hooks: called with the pid where the plan awaits hooks.
        on_maps: called with the pid of `launcher init` where maps of its user namespace are to be written.
        on_started: called with a container's pid, to write it down; should we be killed before, it is ended.
        on_listener: called with the pid and a seccomp listener's descriptor, which the process may be waiting for.

    Raises:
        LaunchError: an op failed, and the process is gone; the cgroups are not.
    """
    fd, pid = init or begin(inherit or {})
    connection = socket(fileno=fd)
    try:
        order(connection, encode(plan.host + plan.child), directory, join, lock)
        started = converse(connection, {Kind.READY: on_hooks, Kind.MAPS: on_maps}, on_listener)
        if on_started:
            on_started(started.pid)
            connection.sendall(frames.encode(Frame(Kind.START, 0)))
        os.waitpid(pid, 0)
        return started
    except BaseException:
        connection.close()
        reap()
        raise
    finally:
        connection.close()


def begin(inherit: Mapping[int, int]) -> Init:
    """Start it."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    wanted = {number: number for number in range(3)} | dict(inherit) | {INIT_CLIENT_FD: theirs.fileno()}
    try:
        pid = spawn(launcher(), ["twinhull-init", "init"], wanted)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Init(ours.detach(), pid)


def order(connection: socket, plan: bytes, directory: str, join: int, lock: int) -> None:
    """Say what there is to do."""
    plan_fd = memory_file("plan", plan)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    frame = frames.encode(Frame(Kind.PLAN, 0, join.to_bytes(DESCRIPTOR_BYTES, "little")))
    descriptors = (plan_fd, directory_fd, *([lock] if lock >= 0 else []))
    data = b"".join(fd.to_bytes(DESCRIPTOR_BYTES, "little") for fd in descriptors)
    try:
        connection.sendmsg([frame], [(SOL_SOCKET, SCM_RIGHTS, data)])
    finally:
        os.close(plan_fd)
        os.close(directory_fd)


def reap() -> None:
    """Kill and collect every child of ours, also what waits for a launcher that is gone.

    Until then a pid namespace does not end.
    """
    try:
        for word in files.read(f"/proc/self/task/{os.getpid()}/children").split():
            os.kill(int(word), SIGKILL)
    except OSError:  # ended meanwhile; or a kernel without that file
        pass
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def converse(
    connection: socket,
    asked: Mapping[int, Callable[[int], None] | None],
    on_listener: Callable[[int, int], None] | None,
) -> Started:
    """Listen until it has started, or has failed."""
    terminal = -1
    while True:
        frame, fd = receive(connection)
        if frame.kind == Kind.ERROR:
            from twinhull.runtime.sandbox import launch_error

            raise launch_error(frame.payload)
        number = int.from_bytes(frame.payload[:4], "little")
        if frame.kind == Kind.DESCRIPTOR and number == TERMINAL:
            terminal = fd
        elif frame.kind == Kind.DESCRIPTOR and on_listener:
            on_listener(int.from_bytes(frame.payload[4:8], "little"), fd)
        elif frame.kind == Kind.STARTED:
            if maker := int.from_bytes(frame.payload[4:8], "little"):
                os.waitpid(maker, 0)
            return Started(number, terminal)
        elif act := asked.get(frame.kind):
            act(number)
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


def hand_over(path: str, fd: int, message: bytes, field: str) -> None:
    """Send a descriptor to whoever listens at a socket's path, and close ours.

    Raises:
        InvalidRequest: nobody does; the message begins with the field that has the path.
    """
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(DESCRIPTOR_BYTES, "little"))])
    except OSError as error:
        raise InvalidRequest(f"{field}: {path}: {error.strerror or error}") from None
    finally:
        connection.close()
        os.close(fd)
