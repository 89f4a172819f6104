"""The guest agent of a machine, where its disk has one (qemu-guest-agent): asked over the port that QEMU listens on.

Promise: what a guest answers is bounded in size and time and has the shape it should have, or it is no answer
(GuestError). One client at a time: a second one waits.

Source: docs/interop/qemu-ga-ref of QEMU.
"""

from __future__ import annotations

import os
import time
from binascii import a2b_base64

from twinhull import jsontext
from twinhull.errors import GuestError
from twinhull.plan.pc import SOCKETS
from twinhull.runtime.lines import Lines, dial
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterator
    from typing import Any

SOCKET, PEER = SOCKETS[1][1], "the guest agent"
TIMEOUT_S = 10.0
SYNC_BYTE = b"\xff"  # begins the answer to guest-sync-delimited, and no other
POLL_S = 0.02
MAX_NUMBER = 1 << 31


class Refused(GuestError):
    """The agent answers, and says no: there is no such program, or no such command."""


class System(NamedTuple):
    """What the guest says it is; "" where it does not say."""

    name: str
    kernel: str
    machine: str


class Agent(Lines):
    """A conversation with the agent."""

    def __init__(self, connection: socket, timeout_s: float) -> None:
        super().__init__(connection, timeout_s, PEER, "no guest agent answers in the machine")

    def synchronise(self) -> None:
        """Return once the agent answers us, past what it still had to say to an earlier client.

        Raises:
            GuestError: nobody answers in time.
        """
        number = int.from_bytes(os.urandom(4), "little") % MAX_NUMBER
        self.write(SYNC_BYTE)
        self.send("guest-sync-delimited", id=number)
        while True:
            _, delimiter, rest = self.line().rpartition(SYNC_BYTE)
            if delimiter and value_of(rest) == number:
                return

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command of the agent and return what it returned.

        Raises:
            GuestError: it refused, or does not answer in time.
        """
        self.send(command, **arguments)
        return value_of(self.line())

    def system(self) -> System:
        """Return what operating system this is."""
        answer = self.execute("guest-get-osinfo")
        names = ("pretty-name", "kernel-release", "machine")
        return System(*(text_of(answer, name) for name in names))

    def run(self, *argv: str) -> tuple[int, str]:
        """Run a program of the guest to its end and return its status and what it wrote.

        Raises:
            GuestError: there is no such program, or it does not end in time.
        """
        answer = self.execute("guest-exec", path=argv[0], arg=list(argv[1:]), capture_output=True)
        pid = number_of(answer, "pid")
        while True:
            state = self.execute("guest-exec-status", pid=pid)
            if isinstance(state, dict) and state.get("exited"):
                break
            time.sleep(POLL_S)
        try:
            output = a2b_base64(text_of(state, "out-data"))
        except ValueError:
            raise GuestError("the guest agent's answer is not base64") from None
        return number_of(state, "exitcode"), output.decode("utf-8", "replace")


def value_of(line: bytes) -> Any:
    """Return what an answer returned.

    Raises:
        Refused: it is an error.
        GuestError: it is no answer at all.
    """
    try:
        message = jsontext.loads(line)
    except (ValueError, RecursionError):
        raise GuestError("the guest agent's answer is not JSON") from None
    if not isinstance(message, dict) or "return" not in message:
        error = message.get("error") if isinstance(message, dict) else None
        raise Refused(f"the guest agent refused: {text_of(error, 'desc') or 'an answer of no known shape'}")
    return message["return"]


def text_of(answer: Any, name: str) -> str:
    """Return a text of an answer without anything a terminal would obey, "" if it has none."""
    text = answer.get(name, "") if isinstance(answer, dict) else ""
    return "".join(letter for letter in text if letter.isprintable()) if isinstance(text, str) else ""


def number_of(answer: Any, name: str) -> int:
    """Return a number of an answer.

    Raises:
        GuestError: it has none.
    """
    number = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(number, int) or not -MAX_NUMBER <= number < MAX_NUMBER:
        raise GuestError(f"the guest agent's answer has no {name}")
    return number


@contextmanager
def asking(directory: str, timeout_s: float = TIMEOUT_S) -> Iterator[Agent]:
    """Give an agent that answers.

    Args:
        directory: of the machine's instance.
        timeout_s: for everything that is asked in the block.

    Raises:
        GuestError: the machine does not run, has no agent, or its agent does not run yet.
    """
    connection = dial(directory, SOCKET, PEER)
    try:
        agent = Agent(connection, timeout_s)
        agent.synchronise()
        yield agent
    finally:
        connection.close()
