"""QEMU's monitor: one client at a time, over the listening socket that QEMU inherited.

Promise: no call outlives its deadline; a QEMU that is gone is a GuestError.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.errors import GuestError
from twinhull.runtime.lines import Lines, dial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]

SOCKET, PEER = "qmp", "QEMU's monitor"
DEFAULT_TIMEOUT_S = 10.0


class Monitor(Lines):
    """A conversation in QMP. Events that nobody waited for are kept."""

    def __init__(self, connection: socket, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__(connection, timeout_s, PEER)
        self.events: list[Message] = []
        self.send("qmp_capabilities")
        self.receive(lambda message: "QMP" in message)
        self.answer("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return what it returned.

        Raises:
            GuestError: QEMU refused, is gone, or took too long.
        """
        self.send(command, **arguments)
        return self.answer(command)

    def give(self, name: str, fd: int) -> None:
        """Give QEMU a descriptor, to be named in a later command (getfd)."""
        self.send("getfd", fd, fdname=name)
        self.answer("getfd")

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


def data_of(event: Message) -> Message:
    """What an event tells beside its name."""
    data: Message = event.get("data", {})
    return data


def connect(directory: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Monitor:
    """Connect to the QEMU of an instance directory, whose lock the caller holds.

    Raises:
        GuestError: nobody listens.
    """
    connection = dial(directory, SOCKET, PEER)
    try:
        return Monitor(connection, timeout_s)
    except BaseException:
        connection.close()
        raise
