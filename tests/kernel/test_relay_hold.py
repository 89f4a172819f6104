"""A virtual machine's relay while the guest is held to be copied: what it says to it, and when. Real shim and relay."""

from __future__ import annotations

from struct import pack

import pytest

from tests.support.shim import NUMBER, Client, Shim, Supervise
from tests.support.vm import wait_until
from twinhull.errors import LaunchError
from twinhull.plan.frames import HEADER, Kind
from twinhull.plan.ops import Op
from twinhull.runtime.sandbox import HOST_STREAM

CHANNEL = 9


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame of stream 0 as the wire has it."""
    return HEADER.pack(len(payload), 0, kind, 0) + payload


SEVEN = pack("<I", 7)
BEGUN = frame(Kind.HELLO, pack("<I", 1)) + frame(Kind.READY, SEVEN) + frame(Kind.STARTED, SEVEN)
HOLD, RESUME, HANGUP = frame(Kind.HOLD), frame(Kind.RESUME), frame(Kind.SIGNAL, NUMBER.pack(1))
HELD = frame(Kind.HOLD, NUMBER.pack(0))


def guest(supervise: Supervise, answer: bytes) -> Shim:
    """A virtual machine whose agent takes a HOLD, answers it, and shows on its console what comes then."""
    shim = Shim(supervise.launch, "guest")
    supervise.shims.append(shim)
    for name, said in (("begun", BEGUN), ("answer", answer)):
        (supervise.launch.image / name).write_bytes(said)
    script = f"cat /begun >&{CHANNEL}; head -c {len(HOLD)} <&{CHANNEL} >/dev/null; echo held; cat /answer >&{CHANNEL}"
    show = f"while :; do dd bs=1 count=1 <&{CHANNEL} 2>/dev/null | od -An -tx1; done"
    shim.spawn(("sh", "-c", f"{script}; {show}"), flags=("--vm",), host=[Op("channel", (CHANNEL,))])
    shim.client.expect(Kind.READY, HOST_STREAM)
    shim.client.send(Kind.START, HOST_STREAM)
    shim.client.expect(Kind.STARTED, HOST_STREAM)
    shim.client.expect(Kind.STARTED)
    return shim


def heard(shim: Shim) -> bytes:
    """What has come to the guest since HOLD."""
    return bytes.fromhex("".join(console(shim).partition("held")[2].split()))


def console(shim: Shim) -> str:
    """What the guest has written to its console."""
    path = shim.directory / "console"
    return path.read_text() if path.exists() else ""


def holder(shim: Shim) -> Client:
    """A client that has the guest held."""
    client = shim.connect()
    assert client.ask(Kind.HOLD).payload == NUMBER.pack(0)
    return client


def test_what_others_say_meanwhile_comes_after_the_word_to_go_on(supervise: Supervise) -> None:
    shim = guest(supervise, HELD)
    client = holder(shim)
    shim.client.send(Kind.SIGNAL, 0, NUMBER.pack(1))
    shim.client.ask(Kind.STATS)  # the relay has read the signal then
    assert heard(shim) == b""
    client.send(Kind.RESUME)
    wait_until(lambda: heard(shim) == RESUME + HANGUP, "both")


def test_a_client_that_goes_away_lets_the_guest_go_on(supervise: Supervise) -> None:
    shim = guest(supervise, HELD)
    holder(shim).close()
    wait_until(lambda: heard(shim) == RESUME, "the word to go on")


def test_a_client_that_went_before_the_answer_does_so_too(supervise: Supervise) -> None:
    shim = guest(supervise, b"")
    client = shim.connect()
    client.send(Kind.HOLD)
    wait_until(lambda: "held" in console(shim), "the guest to hear it")
    client.close()
    shim.client.ask(Kind.STATS)
    assert heard(shim) == b"", "it has not answered: RESUME would overtake"


def test_one_at_a_time_may_hold_it_and_only_that_one_lets_it_go_on(supervise: Supervise) -> None:
    shim = guest(supervise, HELD)
    holder(shim)
    with pytest.raises(LaunchError, match="held already"):
        shim.connect().ask(Kind.HOLD)
    other = shim.connect()
    other.send(Kind.RESUME)
    assert other.connection.recv(1) == b"", "a breach ends the conversation"
    assert heard(shim) == b""


def test_a_guest_that_refuses_is_not_held(supervise: Supervise) -> None:
    shim = guest(supervise, frame(Kind.HOLD, NUMBER.pack(16)))
    assert shim.connect().ask(Kind.HOLD).payload == NUMBER.pack(16)
    shim.client.send(Kind.SIGNAL, 0, NUMBER.pack(1))
    wait_until(lambda: heard(shim) == HANGUP, "the signal")
