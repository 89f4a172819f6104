"""Lines of JSON over a socket, as QEMU's monitor and a guest's agent speak them.

Promise: what comes is bounded in time and size; a peer that is silent or gone is a GuestError that says which.
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _socket import timeout as SocketTimeout

from twinhull import jsontext
from twinhull.errors import GuestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LINE_BYTES = 1 << 20


class Lines:
    """One end of a conversation. `peer` names the other in errors; `deadline` is in the time of time.monotonic().

    Attributes:
        silent: what a peer that does not answer in time means.
    """

    def __init__(self, connection: socket, timeout_s: float, peer: str, silent: str = "") -> None:
        self.connection, self.peer = connection, peer
        self.silent = silent or f"{peer} did not answer in time"
        self.deadline = time.monotonic() + timeout_s
        self.buffer = b""

    def send(self, command: str, fd: int = -1, **arguments: Any) -> None:
        """Send a command whose answer is read later, in order. Underscores in names become dashes.

        Args:
            fd: goes with it unless it is -1; its answer must then be read before the next command is sent.

        Raises:
            GuestError: the peer is gone.
        """
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.write(jsontext.dumps(message).encode() + b"\n", fd)

    def write(self, data: bytes, fd: int = -1) -> None:
        """Send bytes as they are.

        Raises:
            GuestError: the peer is gone.
        """
        try:
            if fd >= 0:
                self.connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
            else:
                self.connection.sendall(data)
        except OSError as error:
            raise GuestError(f"{self.peer} is gone: {error.strerror}") from None

    def line(self) -> bytes:
        """Return the next line.

        Raises:
            GuestError: none comes in time, or it has no end.
        """
        while b"\n" not in self.buffer:
            self.connection.settimeout(max(self.deadline - time.monotonic(), 0.001))
            try:
                part = self.connection.recv(65536)
            except SocketTimeout:
                raise GuestError(self.silent) from None
            except OSError:
                part = b""
            if not part:
                raise GuestError(f"{self.peer} ended while it was asked")
            self.buffer += part
            if len(self.buffer) > MAX_LINE_BYTES:
                raise GuestError(f"an answer of {self.peer} has no end")
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def close(self) -> None:
        """Let the next client in."""
        self.connection.close()


def dial(directory: str, name: str, peer: str) -> socket:
    """Connect to a socket of an instance directory; the name goes through a descriptor (108 bytes end sooner).

    Raises:
        GuestError: nobody listens.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{fd}/{name}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise GuestError(f"{peer} is not there") from None
    finally:
        os.close(fd)
    return connection
