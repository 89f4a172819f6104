"""Everything that a process writes, for callers that wait until it has ended."""

from __future__ import annotations

from twinhull.engine.engine import Result
from twinhull.errors import InvalidRequest
from twinhull.plan.frames import INITIAL_CREDIT_BYTES, MAX_PAYLOAD_BYTES, Kind
from twinhull.runtime.sandbox import Sandbox, exit_status


def require_words(command: object) -> None:
    """Refuse what is no list of words; a text would be taken for a list of letters.

    Raises:
        InvalidRequest: it is one.
    """
    if not isinstance(command, list | tuple) or not all(isinstance(word, str) for word in command):
        raise InvalidRequest(f"the command is a list of words, not {command!r}", hint='["echo", "hi"]')


def collect(conversation: Sandbox, stream: int, stdin: bytes) -> Result:
    """Feed stdin, gather both outputs until the process has ended."""
    gathered: dict[int, bytearray] = {Kind.STDOUT: bytearray(), Kind.STDERR: bytearray()}
    feeder = Feeder(conversation, stream, stdin)
    feeder.feed(0)
    while True:
        frame = conversation.receive()
        if frame.stream != stream:
            continue
        if frame.kind in gathered:
            gathered[frame.kind] += frame.payload
            if frame.payload:
                conversation.offer(Kind.CREDIT, stream, len(frame.payload).to_bytes(4, "little"))
        elif frame.kind == Kind.CREDIT:
            feeder.feed(int.from_bytes(frame.payload[:4], "little"))
        elif frame.kind == Kind.EXIT:
            conversation.close()
            return Result(exit_status(frame).code, bytes(gathered[Kind.STDOUT]), bytes(gathered[Kind.STDERR]))


class Feeder:
    """Sends stdin within its credit, then the end of it."""

    def __init__(self, conversation: Sandbox, stream: int, data: bytes) -> None:
        self.conversation, self.stream = conversation, stream
        self.rest, self.credit, self.ended = memoryview(data), INITIAL_CREDIT_BYTES, not data

    def feed(self, credit: int) -> None:
        """Send what the credit allows."""
        self.credit += credit
        while self.rest and self.credit:
            part = self.rest[: min(self.credit, MAX_PAYLOAD_BYTES)]
            self.conversation.offer(Kind.STDIN, self.stream, bytes(part))
            self.rest, self.credit = self.rest[len(part) :], self.credit - len(part)
        if not self.rest and not self.ended:
            self.ended = True
            self.conversation.offer(Kind.EOF, self.stream)
