"""What a machine's guest agent says is hostile: it is an answer of the right shape, or none."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import GuestError
from twinhull.machine import agent, clock, inside
from twinhull.runtime import lines
from twinhull.runtime.sandbox import Sandbox


@pytest.fixture
def guest() -> Iterator[tuple[agent.Agent, socket.socket]]:
    """An agent's client, and the other end of its port."""
    ours, theirs = socket.socketpair()
    yield agent.Agent(ours, 2.0), theirs
    ours.close()
    theirs.close()


def answer(theirs: socket.socket, *values: Any) -> None:
    for value in values:
        theirs.sendall(json.dumps(value).encode() + b"\n")


def test_a_program_of_the_guest_is_waited_for_and_its_output_decoded(guest: tuple[agent.Agent, socket.socket]) -> None:
    client, theirs = guest
    output = base64.b64encode("grün\n".encode()).decode()
    ended = {"exited": True, "exitcode": 3, "out-data": output}
    answer(theirs, {"return": {"pid": 7}}, {"return": {"exited": False}}, {"return": ended})
    assert client.run("echo", "grün") == (3, "grün\n")
    asked = [json.loads(line) for line in theirs.recv(4096).splitlines()]
    assert asked[0]["arguments"] == {"path": "echo", "arg": ["grün"], "capture-output": True}
    assert [one["execute"] for one in asked] == ["guest-exec", "guest-exec-status", "guest-exec-status"]


def test_what_an_earlier_client_was_told_is_passed_over(guest: tuple[agent.Agent, socket.socket]) -> None:
    client, theirs = guest

    def reply() -> None:
        said = b""
        while not said.endswith(b"\n"):
            said += theirs.recv(4096)
        asked = json.loads(said.rpartition(b"\xff")[2])
        answer(theirs, {"return": {"pid": 1}}, {"return": 99})
        theirs.sendall(b'{"half": \xff' + json.dumps({"return": asked["arguments"]["id"]}).encode() + b"\n")

    other = threading.Thread(target=reply)
    other.start()
    client.synchronise()
    other.join()


@pytest.mark.parametrize(
    "line",
    [b"not json", b"[]", b"{}", b'"return"', b'{"error": 5}', b'{"error": {"desc": 5}}', b"[" * 10_000],
)
def test_an_answer_of_another_shape_is_an_error_of_ours(line: bytes) -> None:
    with pytest.raises(GuestError):
        agent.value_of(line)


@pytest.mark.parametrize("value", [None, 5, "x", [], {"pid": "7"}, {"pid": 1 << 40}, {"pid": None}])
def test_a_pid_that_is_none_is_an_error_of_ours(guest: tuple[agent.Agent, socket.socket], value: Any) -> None:
    client, theirs = guest
    answer(theirs, {"return": value})
    with pytest.raises(GuestError):
        client.run("true")


def test_an_answer_without_end_fills_no_memory(guest: tuple[agent.Agent, socket.socket]) -> None:
    client, theirs = guest
    flood = threading.Thread(target=send_all, args=(theirs, b"x" * (lines.MAX_LINE_BYTES + 70_000)))
    flood.start()
    with pytest.raises(GuestError, match="no end"):
        client.line()
    client.connection.close()
    flood.join()


def send_all(theirs: socket.socket, data: bytes) -> None:
    try:
        theirs.sendall(data)
    except OSError:
        pass


def test_an_agent_that_says_nothing_is_waited_for_no_longer_than_said() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(GuestError, match="no guest agent answers"):
        agent.Agent(ours, 0.05).synchronise()


def test_the_errors_of_a_guest_cannot_write_to_the_terminal() -> None:
    with pytest.raises(GuestError) as caught:
        agent.value_of(json.dumps({"error": {"desc": "a\x1b[31mb"}}).encode())
    assert "\x1b" not in caught.value.message
    assert agent.text_of({"name": "x\x1b]0;y\x07"}, "name") == "x]0;y"
    assert inside.names("a\x1bb.service loaded active running\n") == ("ab",)


def test_processes_are_told_from_the_kernels_threads() -> None:
    stat = "1 (systemd) S 0 1 1 0 -1 4194560 1\n2 (kthreadd) S 0 0 0 0 -1 2129984 0\n9 (a) b) S 1 9 9 0 -1 4194304 0\n"
    assert inside.count(stat) == (2, 1)


@given(st.text())
def test_any_text_is_counted_without_an_error(text: str) -> None:
    inside.count(text)
    inside.memory(text)
    inside.names(text)


def ended(code: int, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the agent says of a program that has ended."""
    output = base64.b64encode(text.encode()).decode()
    return {"return": {"pid": 7}}, {"return": {"exited": True, "exitcode": code, "out-data": output}}


def test_a_system_is_waited_for_until_it_says_that_it_is_up(guest: tuple[agent.Agent, socket.socket]) -> None:
    client, theirs = guest
    for code, text in ((1, ""), (1, "initializing\n"), (1, "starting\n"), (1, "degraded\n")):
        answer(theirs, *ended(code, text))
    assert inside.settled(client, 5.0) == "degraded"


def test_one_that_does_not_come_up_in_time_says_so(guest: tuple[agent.Agent, socket.socket]) -> None:
    client, theirs = guest
    answer(theirs, *ended(1, "starting\n"))
    assert inside.settled(client, 0.0) == "starting"


@pytest.mark.parametrize(
    "said", [[{"error": {"desc": "no such program"}}], ended(1, "offline\n"), ended(0, "something else\n")]
)
def test_a_system_without_systemd_is_not_waited_for(guest: tuple[agent.Agent, socket.socket], said: Any) -> None:
    client, theirs = guest
    answer(theirs, *said)
    assert inside.settled(client, 5.0) == ""


def test_a_question_that_gets_no_answer_is_no_answer_of_nothing(guest: tuple[agent.Agent, socket.socket]) -> None:
    client, theirs = guest
    client.deadline = time.monotonic() + 0.1
    with pytest.raises(GuestError):
        inside.answer(client, "cat", "/proc/1/comm")
    answer(theirs, {"error": {"desc": "no such program"}})
    client.deadline = time.monotonic() + 2
    assert inside.answer(client, "systemctl") == ""


def test_memory_is_read_in_bytes() -> None:
    assert inside.memory("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   60 kB\n") == (102_400, 61_440)


def test_a_kernel_runs_before_its_first_line_comes() -> None:
    assert (clock.no_later(9.6, 8.9), clock.no_later(8.2, 8.9), clock.no_later(8.2, None)) == (8.9, 8.2, 8.2)


def test_a_time_of_the_guest_is_ours_and_one_that_has_not_come_is_none() -> None:
    assert clock.since("1500000", 2.0) == 3.5
    assert clock.since("0", 2.0) is clock.since("", 2.0) is clock.since("-1", 2.0) is None


def test_the_kernels_first_line_is_seen_though_it_comes_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        console = clock.Console(Sandbox(theirs), 0.0)
        console.take(b"SeaBIOS")
        seen = [console.kernel]
        for part in (b"\r\n[    0.000000] Linux ver", b"sion 6.1", b"Linux version again"):
            console.take(part)
            seen.append(console.kernel)
    assert seen[:2] == [None, None]
    assert seen[2] is not None and seen[2] == seen[3], "the first counts"
    assert console.first is not None and console.first <= seen[2]
