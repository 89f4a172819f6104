"""A tool of the launcher's in a workload: what it writes and reads, over a conversation.

Promise: what comes from a workload's side is bounded before it is believed.
"""

from __future__ import annotations

from twinhull.errors import GuestError
from twinhull.oci import records
from twinhull.oci.tar import Stream
from twinhull.plan import codec
from twinhull.plan.frames import INITIAL_CREDIT_BYTES, MAX_PAYLOAD_BYTES, Flag, Kind
from twinhull.plan.ops import Op
from twinhull.runtime import sandbox
from twinhull.runtime.sandbox import NUMBER, Sandbox, exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = 1
STDIN_NONE, STDIN_CLIENT = 0, 1


class Tool:
    """One running tool: what it writes comes in chunks, what it reads goes within its credit."""

    def __init__(
        self,
        conversation: Sandbox,
        name: str,
        path: str = "",
        flags: int = 0,
        *,
        fed: bool = False,
        before: tuple[Op, ...] = (),
    ) -> None:
        self.conversation = conversation
        self.window = INITIAL_CREDIT_BYTES
        self.waiting: list[bytes] = []
        self.code = -1
        ops = (*before, Op("stdin", (STDIN_CLIENT if fed else STDIN_NONE,)), Op("tool", (name, path, flags)))
        plan = codec.encode(ops)
        conversation.send_plan(Kind.EXEC, STREAM, plan, Flag.STDIN_OPEN if fed else 0)
        conversation.expect(Kind.STARTED, STREAM)

    def chunks(self) -> Iterator[bytes]:
        """Give what it writes, to its end.

        Raises:
            SupervisorLost: the workload has ended meanwhile.
        """
        while self.waiting or self.code < 0:
            if self.waiting:
                yield self.waiting.pop(0)
            else:
                self.turn()

    def turn(self) -> None:
        """Take one frame."""
        frame = self.conversation.receive()
        if frame.stream != STREAM:
            return
        if frame.kind == Kind.STDOUT and frame.payload:
            self.waiting.append(frame.payload)
            self.conversation.offer(Kind.CREDIT, STREAM, NUMBER.pack(len(frame.payload)))
        elif frame.kind == Kind.CREDIT:
            self.window += int.from_bytes(frame.payload[:4], "little")
        elif frame.kind == Kind.EXIT:
            self.code = exit_status(frame).code
        elif frame.kind == Kind.ERROR:
            raise sandbox.launch_error(frame.payload)

    def write(self, data: bytes) -> bool:
        """Send bytes to its standard input; False once it has ended and takes none."""
        view = memoryview(data)
        while view and self.code < 0:
            part = view[: min(self.window, MAX_PAYLOAD_BYTES)]
            if not part:
                self.turn()
                continue
            self.conversation.offer(Kind.STDIN, STREAM, bytes(part))
            view, self.window = view[len(part) :], self.window - len(part)
        return self.code < 0

    def end_input(self) -> None:
        """Nothing more comes."""
        self.conversation.offer(Kind.EOF, STREAM)

    def everything(self, limit: int) -> bytes:
        """Return all it writes.

        Raises:
            GuestError: more than `limit` bytes.
        """
        gathered = bytearray()
        for chunk in self.chunks():
            gathered += chunk
            if len(gathered) > limit:
                raise GuestError(f"the workload's side has sent more than {limit >> 20} MiB")
        return bytes(gathered)


def set_limit(conversation: Sandbox, file: str, value: str) -> int:
    """Write one file of the workload's group in its guest; return the number of the error, 0 for none.

    A kernel without swap has no file for it, which is none.
    """
    tool = Tool(conversation, "limit", f"{file} {value}")
    answer = records.decode(Stream(tool.chunks()))
    for _ in tool.chunks():
        pass
    return answer.mode if answer.tag == records.ERROR and "swap" not in file else 0
