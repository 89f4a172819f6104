"""The framed protocol between engine, shim, relay, agent and attach: its numbers and its codec. Pure.

    frame = length u32 (of the payload), stream u32, kind u16, flags u16, payload (at most 64 KiB)

Little-endian. Stream 0 is the main process of a workload; a client numbers its exec streams itself,
from 1, on its own connection. docs/plan-format.md describes each conversation.
"""

from __future__ import annotations

from _struct import Struct

from twinhull.tuples import NamedTuple

PROTOCOL_VERSION = 1
HEADER = Struct("<IIHH")
AGENT_HELLO = Struct("<IQQ")  # version; the guest's time stamp counter when the agent began, and now
MOMENT = Struct("<QI")  # a TIME's seconds and nanoseconds
MAX_PAYLOAD_BYTES = 64 << 10
INITIAL_CREDIT_BYTES = 256 << 10


class Kind:
    """Frame kinds; C → S is client to server (shim, relay, agent), S → C the answer."""

    HELLO = 1  # both: version u32, sent first by the server; an agent's is AGENT_HELLO
    CONFIG = 2  # C → S, before a template is saved: an encoded plan that most plans begin like (agent only)
    PLAN = 3  # C → S, stream 0: a chunk of an encoded plan; LAST marks the end (agent only)
    START = 4  # C → S, stream 0: exec the main process
    EXEC = 5  # C → S, new stream: a chunk of an encoded plan; LAST performs it
    STDIN = 6  # C → S: bytes for the process
    STDOUT = 7  # S → C
    STDERR = 8  # S → C
    EOF = 9  # C → S: end of stdin. S → C: both outputs have ended
    CREDIT = 10  # both: u32, so many more bytes may be sent on this stream and direction
    CLOSE = 11  # C → S: forget the stream; an exec's process is killed
    SIGNAL = 12  # C → S: u32 signal; ALL: every process of the workload
    RESIZE = 13  # C → S: rows u16, columns u16
    PAUSE = 14  # C → S: u32 1 freeze, 0 thaw; answered by PAUSE
    WAIT = 15  # C → S, stream 0: send EXIT when the main process has ended
    DETACH = 16  # C → S: no more output of this stream to me; the process goes on
    EXIT = 17  # S → C: code u32, signal u32, oom u32
    STATS = 18  # C → S, then S → C: JSON
    TIME = 19  # C → S: seconds u64, nanoseconds u32
    SEED = 20  # C → S: bytes
    ERROR = 21  # S → C: op index u32 (0xffffffff: none), errno u32, exit code u32, text
    PING = 22  # both: answered with the same payload
    READY = 23  # S → C, stream 0: pid u32; the plan is performed and waits for START
    STARTED = 24  # S → C: pid u32; exec has succeeded
    ATTACH = 25  # C → S, stream 0: STDIN_OPEN to take stdin; output flows from now on
    HOLD = 26  # C → S, stream 0: freeze the workload and say nothing more until RESUME; answered by HOLD: errno u32
    RESUME = 27  # C → S, stream 0: go on; of one that is held a PLAN and a START make another machine
    DESCRIPTOR = 28  # S → C, of `init`: u32 0 the terminal's master, 1 a seccomp listener, u32 whose; it comes along
    MAPS = 29  # S → C, of `init`: u32 its pid; it is in a user namespace whose maps are to be written. Then START


class Flag:
    """Bits of a frame's flags."""

    LAST = 1  # PLAN, EXEC: the plan is complete
    STDIN_OPEN = 2  # EXEC, ATTACH: the client will send stdin
    ALL = 4  # SIGNAL: to every process of the workload


def numbers(table: type[Kind] | type[Flag]) -> dict[str, int]:
    """Return the constants of one of the two by name. An enum would cost each start 8 ms."""
    return {name: value for name, value in vars(table).items() if name.isupper()}


class Frame(NamedTuple):
    """One message."""

    kind: int
    stream: int
    payload: bytes = b""
    flags: int = 0


class ExitStatus(NamedTuple):
    """How a process ended: `code` as a shell shows it (128+n after signal n)."""

    code: int
    signal: int = 0
    oom: bool = False


def encode(frame: Frame) -> bytes:
    """Return the frame as bytes."""
    return HEADER.pack(len(frame.payload), frame.stream, frame.kind, frame.flags) + frame.payload
