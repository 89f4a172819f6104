"""What a process of a container gets from our caller, and what the caller gets: descriptors, terminal, pid file."""

from __future__ import annotations

import os

from twinhull.errors import InvalidRequest
from twinhull.host import files
from twinhull.runtime.oci.conversation import Init, Started, hand_over
from twinhull.runtime.oci.launcher import FIRST_INHERITED_FD, INIT_CLIENT_FD
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Streams(NamedTuple):
    """What a process gets from our caller besides its standard streams.

    Attributes:
        console: path of the socket that takes the terminal's master; "" without a terminal.
        pid_file: "" for none.
        preserve: how many descriptors from 3 on it keeps.
        init: `launcher init`, if it runs already.
        listening: how many sockets come before those, which it is told of as a service manager does.
        pidfd: path of the socket that takes a pidfd of the process, "" for none.
    """

    console: str = ""
    pid_file: str = ""
    preserve: int = 0
    init: Init | None = None
    listening: int = 0
    pidfd: str = ""

    def inherited(self) -> dict[int, int]:
        """The numbers it sees -> ours."""
        numbers = range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + self.listening + self.preserve)
        if numbers and numbers[-1] >= INIT_CLIENT_FD:
            raise InvalidRequest(f"--preserve-fds: at most {INIT_CLIENT_FD - FIRST_INHERITED_FD}")
        return {number: number for number in numbers}

    def told(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The spec with what its process has to know of the sockets; the container's own keeps nothing of it."""
        process = spec.get("process")
        if not self.listening or not process:
            return spec
        environment = [*(process.get("env") or ()), f"LISTEN_FDS={self.listening}", "LISTEN_PID=1"]
        return {**spec, "process": {**process, "env": environment}}


def settle(started: Started, streams: Streams) -> None:
    """Hand terminal and pidfd to who shall have them, and write the pid file: last, for callers wait for it."""
    if started.terminal >= 0 and streams.console:
        hand_over(streams.console, started.terminal, b"/dev/ptmx", "--console-socket")
    if streams.pidfd:
        hand_over(streams.pidfd, os.pidfd_open(started.pid), b"pidfd", "--pidfd-socket")
    if streams.pid_file:
        write_pid(streams.pid_file, started.pid)


def write_pid(path: str, pid: int) -> None:
    """Digits only; a reader never sees half of them."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    try:
        files.write(temporary, str(pid).encode(), 0o644)
        os.rename(temporary, path)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None


def check_terminal(process: Mapping[str, Any], streams: Streams) -> None:
    """A console socket belongs to a terminal."""
    if streams.console and not process.get("terminal"):
        raise InvalidRequest("process.terminal: a console socket was given, but no terminal is asked for")
