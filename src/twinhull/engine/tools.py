"""Conversations with the launcher's tools: parts of it that look into a workload without running anything of it.

Promise: the same tool on the host for a container and in the guest for a virtual machine; what comes from there is
bounded before it is believed. A workload that does not run is prepared for it, without network, and never started.
"""

from __future__ import annotations

from twinhull.engine.control import require_unpaused
from twinhull.engine.execute import STREAM
from twinhull.engine.state import Home, status
from twinhull.errors import GuestError, InvalidRequest, TwinhullError
from twinhull.model import Instance
from twinhull.plan import codec
from twinhull.plan.frames import INITIAL_CREDIT_BYTES, MAX_PAYLOAD_BYTES, Flag, Kind
from twinhull.plan.ops import Op
from twinhull.runtime import sandbox
from twinhull.runtime.sandbox import NUMBER, Sandbox, exit_status
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Flags of the tool op (launcher/tool.h).
FOLLOW, RECURSE, ONE_MOUNT, CONTENT, SYNCS, ANY_OWNER, FREEZES = 1, 2, 4, 8, 16, 32, 1 << 16
STDIN_NONE, STDIN_CLIENT = 0, 1


class Tool:
    """One running tool: what it writes comes in chunks, what it reads goes within its credit."""

    def __init__(self, conversation: Sandbox, name: str, path: str = "", flags: int = 0, *, fed: bool = False) -> None:
        self.conversation = conversation
        self.window = INITIAL_CREDIT_BYTES
        self.waiting: list[bytes] = []
        self.code = -1
        plan = codec.encode((Op("stdin", (STDIN_CLIENT if fed else STDIN_NONE,)), Op("tool", (name, path, flags))))
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


def refuse_machine(instance: Instance) -> None:
    """Refuse what would look into the QEMU of a machine instead of into the machine.

    Raises:
        InvalidRequest: it is a machine.
    """
    if instance.isolation == "machine":
        raise InvalidRequest(
            f"{instance.name} is a machine: its files and processes are its own system's",
            hint=f"twinhull machine attach {instance.name} is its console",
        )


@contextmanager
def conversation_with(home: Home, instance: Instance) -> Iterator[Sandbox]:
    """A conversation in which tools can be started: with what runs, or with what is prepared for this alone.

    Raises:
        Conflict: a virtual machine is paused, with its agent.
    """
    refuse_machine(instance)
    if status(home, instance) not in ("running", "paused"):
        from twinhull.engine.still import prepared

        with prepared(home, instance) as still:
            yield still
        return
    if instance.isolation == "vm":
        require_unpaused(home, instance)
    conversation = sandbox.connect(home.directory(instance.id))
    try:
        yield conversation
    finally:
        conversation.close()


def failed(tool: str, number: int, name: str) -> TwinhullError:
    """The error that a tool's last record stands for."""
    import os

    return TwinhullError(f"{tool}: {name + ': ' if name else ''}{os.strerror(number)}")
