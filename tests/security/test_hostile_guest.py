"""A guest that lies: bytes of a hostile agent go through the real shim and relay. Both must outlive them."""

from __future__ import annotations

import random
import time
from struct import pack

import pytest

from tests.support.shim import Shim, Supervise
from twinhull.plan.frames import AGENT_HELLO, HEADER, INITIAL_CREDIT_BYTES, Kind
from twinhull.plan.ops import Op
from twinhull.runtime.sandbox import ERROR, HOST_STREAM

CHANNEL = 9
HELLO = HEADER.pack(4, 0, Kind.HELLO, 0) + pack("<I", 1)
FLOOD = 2_000


def frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    """One frame as the wire has it."""
    return HEADER.pack(len(payload), stream, kind, flags) + payload


READY, STARTED = frame(Kind.READY, pack("<I", 7)), frame(Kind.STARTED, pack("<I", 7))
BEGUN = HELLO + READY + STARTED

BREACHES = {
    "another version": frame(Kind.HELLO, pack("<I", 99)),
    "a payload larger than any": HEADER.pack(1 << 20, 0, Kind.STDOUT, 0),
    "the largest length": HEADER.pack(0xFFFFFFFF, 0, Kind.STDOUT, 0),
    "an unknown kind": BEGUN + frame(999),
    "a client's kind": BEGUN + frame(Kind.START),
    "an end before a beginning": HELLO + frame(Kind.EXIT, pack("<III", 0, 0, 0)),
    "a short end": BEGUN + frame(Kind.EXIT, b"\0"),
    "a short error": HELLO + frame(Kind.ERROR, b"\0"),
    "started twice": BEGUN + STARTED,
    "a ping that nobody asked for": BEGUN + frame(Kind.PING, b"x"),
    "a hold that nobody asked for": BEGUN + frame(Kind.HOLD, pack("<I", 0)),
    "output after its end": BEGUN + frame(Kind.EOF) + frame(Kind.STDOUT, b"x"),
    "credit beyond counting": BEGUN + frame(Kind.CREDIT, pack("<I", 0xFFFFFFFF)) * 2,
    "a stream that never was": BEGUN + frame(Kind.STDOUT, b"x", stream=77),
    "QEMU's stream": BEGUN + frame(Kind.EXIT, pack("<III", 0, 0, 0), stream=HOST_STREAM),
    "a flood of unknown kinds": BEGUN + frame(0) * FLOOD,
}


def guest(supervise: Supervise, said: bytes) -> Shim:
    """A virtual machine whose agent says this, and nothing else."""
    shim = Shim(supervise.launch, "guest")
    supervise.shims.append(shim)
    (supervise.launch.image / "said").write_bytes(said)
    words = ("sh", "-c", f"cat /said >&{CHANNEL}; exec sleep 1000")
    shim.spawn(words, flags=("--vm",), host=[Op("channel", (CHANNEL,))])
    shim.client.expect(Kind.READY, HOST_STREAM)
    shim.client.send(Kind.START, HOST_STREAM)
    shim.client.expect(Kind.STARTED, HOST_STREAM)
    return shim


@pytest.mark.parametrize("breach", BREACHES)
def test_a_guest_that_breaks_the_protocol_is_ended(supervise: Supervise, breach: str) -> None:
    shim = guest(supervise, BREACHES[breach])
    ended = shim.client.collect()
    assert ended.error or (ended.status and ended.status.code == 137), ended
    assert shim.reap() == 0, "the supervisor ended in order"
    assert shim.record()["code"] in (125, 137)


def test_a_guest_that_sends_more_than_it_may_is_ended_and_fills_no_memory(supervise: Supervise) -> None:
    shim = guest(supervise, BEGUN + frame(Kind.STDOUT, bytes(65536)) * 100)
    time.sleep(1)  # nobody takes the output: two windows of it are kept, one at the client and one in the relay
    ended = shim.client.collect()
    assert ended.code == 137
    assert len(ended.stdout) <= 2 * INITIAL_CREDIT_BYTES


def test_random_bytes_of_a_guest_end_nothing_but_itself(supervise: Supervise) -> None:
    shim = guest(supervise, HELLO + random.Random(5).randbytes(100_000))
    ended = shim.client.collect()
    assert ended.error or ended.status
    assert shim.reap() == 0


def test_a_guests_error_cannot_write_to_the_terminal(supervise: Supervise) -> None:
    text = b"exec \x1b]0;owned\x07\x1b[2J\r\n\x9b2J\xc2\x9b2J \xc3\xa9"
    shim = guest(supervise, HELLO + frame(Kind.ERROR, pack("<III", 0, 0xFFFFFFFF, 77) + text))
    received = shim.client.receive()
    while received.kind != Kind.ERROR:
        received = shim.client.receive()
    _, _, code = ERROR.unpack_from(received.payload)
    assert code == 125, "a guest chooses among a command's statuses only"
    shown = received.payload[ERROR.size :].rstrip(b"\0")
    assert shown == b"exec ?]0;owned??[2J???2J\xc2?2J \xc3\xa9"


def test_a_guest_that_greets_without_end_is_heard_once(supervise: Supervise) -> None:
    greeting = frame(Kind.HELLO, AGENT_HELLO.pack(1, 2**64 - 1, 2**64 - 1))
    shim = guest(supervise, greeting * FLOOD + READY)
    heard = 0
    received = shim.client.receive()
    while (received.kind, received.stream) != (Kind.READY, 0):
        heard += (received.kind, len(received.payload)) == (Kind.HELLO, AGENT_HELLO.size)
        received = shim.client.receive()
    assert heard == 1


def test_a_guests_status_is_a_status(supervise: Supervise) -> None:
    shim = guest(supervise, BEGUN + frame(Kind.EOF) + frame(Kind.EXIT, pack("<III", 0xFFFFFF07, 9999, 7)))
    ended = shim.client.collect()
    assert ended.status and (ended.status.code, ended.status.signal, ended.status.oom) == (7, 0, True)
    assert shim.reap() == 0
    assert (shim.record()["code"], shim.record()["signal"]) == (7, 0)


def test_a_guest_without_end_is_ended_by_its_owner(supervise: Supervise) -> None:
    """It neither ends its workload nor obeys: the machine is switched off."""
    shim = guest(supervise, BEGUN)
    shim.client.expect(Kind.STARTED)
    shim.client.signal(9)
    assert shim.client.collect().code == 137
    assert shim.reap() == 0
