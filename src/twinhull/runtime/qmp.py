"""QEMU's monitor: one client at a time, over the listening socket that QEMU inherited.

Promise: no call outlives its deadline; a QEMU that is gone is a GuestError.
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
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]

SOCKET = "qmp"
DEFAULT_TIMEOUT_S = 10.0


class Monitor:
    """A conversation in QMP. Events that nobody waited for are kept."""

    def __init__(self, connection: socket, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.connection = connection
        self.deadline = time.monotonic() + timeout_s
        self.buffer = b""
        self.events: list[Message] = []
        self.send("qmp_capabilities")
        self.receive(lambda message: "QMP" in message)
        self.answer("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return what it returned. Underscores in names become dashes.

        Raises:
            GuestError: QEMU refused, is gone, or took too long.
        """
        self.send(command, **arguments)
        return self.answer(command)

    def give(self, name: str, fd: int) -> None:
        """Give QEMU a descriptor, to be named in a later command (getfd)."""
        self.send("getfd", fd, fdname=name)
        self.answer("getfd")

    def send(self, command: str, fd: int = -1, **arguments: Any) -> None:
        """Send a command whose answer is read later, in order; a descriptor goes with it unless it is -1.

        The answer to a command with a descriptor must be read before the next one is sent.
        """
        message: Message = {"execute": command}
        if arguments:
            message["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        data = jsontext.dumps(message).encode()
        try:
            if fd >= 0:
                self.connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
            else:
                self.connection.sendall(data)
        except OSError as error:
            raise GuestError(f"QEMU's monitor is gone: {error.strerror}") from None

    def answer(self, command: str) -> Any:
        """Return the answer to the oldest command that has none yet."""
        message = self.receive(lambda message: "return" in message or "error" in message)
        if "error" in message:
            raise GuestError(f"QEMU refused {command}: {message['error'].get('desc', '')}")
        return message["return"]

    def wait_for(self, event: str, accept: Callable[[Message], bool] = lambda _: True) -> Message:
        """Return the data of the next event of this name that `accept` takes."""
        for index, message in enumerate(self.events):
            if message["event"] == event and accept(data_of(message)):
                return data_of(self.events.pop(index))
        return data_of(self.receive(lambda message: message.get("event") == event and accept(data_of(message))))

    def receive(self, wanted: Callable[[Message], bool]) -> Message:
        """Return the next message that is wanted, and keep the events before it."""
        while True:
            message = jsontext.loads(self.line())
            if wanted(message):
                return dict(message)
            if "event" in message:
                self.events.append(message)

    def line(self) -> bytes:
        """Return the next line from QEMU."""
        while b"\n" not in self.buffer:
            self.connection.settimeout(max(self.deadline - time.monotonic(), 0.001))
            try:
                part = self.connection.recv(65536)
            except SocketTimeout:
                raise GuestError("QEMU's monitor did not answer in time") from None
            except ConnectionResetError:
                part = b""
            if not part:
                raise GuestError("QEMU ended while its monitor was in use")
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def close(self) -> None:
        """Let the next client in."""
        self.connection.close()


def data_of(event: Message) -> Message:
    """What an event tells beside its name."""
    data: Message = event.get("data", {})
    return data


def connect(directory: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Monitor:
    """Connect to the QEMU of an instance directory, whose lock the caller holds.

    Raises:
        GuestError: nobody listens.
    """
    connection = dial(directory, SOCKET, "QEMU's monitor is not there")
    try:
        return Monitor(connection, timeout_s)
    except BaseException:
        connection.close()
        raise


def dial(directory: str, name: str, otherwise: str) -> socket:
    """Connect to a socket of an instance directory; the name goes through a descriptor (108 bytes end sooner).

    Raises:
        GuestError: nobody listens; `otherwise` is the message.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{fd}/{name}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise GuestError(otherwise) from None
    finally:
        os.close(fd)
    return connection
