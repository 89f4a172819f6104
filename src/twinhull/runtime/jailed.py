"""A QEMU in its jail, behind a shim: started, waited for, and explained when it fails.

Promise: when `start` or `wait_ready` raises, nothing is left of the virtual machine but its console.
"""

from __future__ import annotations

import os
import time
from _socket import timeout as SocketTimeout

from twinhull.errors import GuestError, LaunchError, TwinhullError
from twinhull.host import files, locks
from twinhull.host.spawn import spawn_shim
from twinhull.plan import codec
from twinhull.plan.frames import Frame, Kind
from twinhull.plan.ops import Plan
from twinhull.runtime import container, sandbox
from twinhull.runtime.sandbox import HOST_STREAM, Sandbox, launch_error, printable
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONSOLE_TAIL_BYTES = 2000
SAID_NOTHING = " and said nothing"
JAIL_TIMEOUT_S = 10.0


class Started(NamedTuple):
    """A virtual machine whose QEMU runs: the conversation with its shim, and the shim.

    Attributes:
        shim_pid: 0 where the shim is no child of ours.
    """

    sandbox: Sandbox
    shim_pid: int
    directory: str
    launcher: str
    qemu_pid: int = 0


def start(
    launcher: str, directory: str, plan: Plan, *, inherit: Mapping[int, int], flags: Sequence[str] = ()
) -> Started:
    """Spawn the shim of an instance directory and return once QEMU is executed.

    Args:
        inherit: number QEMU will see -> descriptor of ours.

    Raises:
        LaunchError: an op of the jail failed; the shim has taken everything back.
    """
    files.write(f"{directory}/undo", codec.encode(plan.undo))
    encoded = codec.encode(plan.host + plan.child)
    conversation, theirs = sandbox.pair()
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pid = spawn_shim(
            launcher,
            plan=encoded,
            client_fd=theirs.fileno(),
            directory_fd=directory_fd,
            inherit=inherit,
            flags=("--vm", *flags),
        )
    finally:
        theirs.close()
        os.close(directory_fd)
    started = Started(conversation, pid, directory, launcher)
    try:
        expect(started, Kind.READY, HOST_STREAM, time.monotonic() + JAIL_TIMEOUT_S)
        conversation.send(Kind.START, HOST_STREAM)
        answer = expect(started, Kind.STARTED, HOST_STREAM, time.monotonic() + JAIL_TIMEOUT_S)
    except BaseException:
        end(started)
        raise
    return started._replace(qemu_pid=conversation.pid(answer))


def expect(started: Started, kind: int, stream: int, deadline: float) -> Frame:
    """Return the next frame of this kind and stream, or raise what went wrong instead.

    Raises:
        GuestError: the deadline passed, or the virtual machine ended; the console's tail is in it.
        LaunchError: an op of a plan failed.
    """
    connection = started.sandbox.connection
    try:
        while True:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            frame = started.sandbox.receive()
            if frame.kind == Kind.ERROR:
                raise refusal(started, frame)
            if frame.kind == kind and frame.stream == stream:
                return frame
    except SocketTimeout:
        raise guest_error(started, "the virtual machine did not come up in time") from None
    except TwinhullError as error:
        if isinstance(error, GuestError | LaunchError):
            raise
        raise guest_error(started, "the virtual machine's supervisor ended") from None
    finally:
        connection.settimeout(None)


def refusal(started: Started, frame: Frame) -> TwinhullError:
    """The exception for an ERROR frame: of a plan's op, or of a guest that ended."""
    error = launch_error(frame.payload)
    if error.op == "guest:":
        return guest_error(started, "the virtual machine ended before the workload began")
    return error


def guest_error(started: Started, message: str) -> GuestError:
    """The exception for a guest that is not there, with what its console says."""
    tail = console_tail(started.directory)
    return GuestError(f"{message}{': its console ends with' + chr(10) + tail if tail else SAID_NOTHING}")


def console_tail(directory: str) -> str:
    """Return the end of a guest's console, without anything a terminal would obey."""
    text = b""
    for name in ("console.1", "console"):
        try:
            text += files.read(f"{directory}/{name}")
        except FileNotFoundError:
            continue
    lines = text[-CONSOLE_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
    return "\n".join("  " + printable(line.rstrip()) for line in lines if line.strip())


def end(started: Started) -> None:
    """Let go of a virtual machine that never began its workload; nothing of it stays, even if its shim was killed."""
    started.sandbox.close()
    container.await_supervisor(started.directory)
    try:
        if started.shim_pid:
            os.waitpid(started.shim_pid, 0)
    except ChildProcessError:
        pass
    container.undo(started.launcher, started.directory)


def clear(launcher: str, directory: str) -> None:
    """Remove the directory of a virtual machine whose maker was killed, and what its shim may have left."""
    if not locks.is_held(f"{directory}/alive"):
        container.undo(launcher, directory)
        files.remove_tree(directory)
