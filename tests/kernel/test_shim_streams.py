"""Bytes between clients and the workload: none lost, none waited for that need not be."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from tests.support.shim import Client, Supervise, wait_until
from twinhull.errors import TwinhullError
from twinhull.plan.frames import INITIAL_CREDIT_BYTES, Flag, Kind

MIB = 1 << 20


def pour(client: Client, data: bytes) -> None:
    """Send stdin under the credit that comes back, while another thread may read nothing."""
    credit = INITIAL_CREDIT_BYTES
    for start in range(0, len(data), 65536):
        part = data[start : start + 65536]
        while credit < len(part):
            credit += int.from_bytes(client.expect(Kind.CREDIT).payload, "little")
        client.send(Kind.STDIN, 0, part)
        credit -= len(part)
    client.send(Kind.EOF)


def test_50_mb_of_stdin_arrive_whole(supervise: Supervise) -> None:
    data = hashlib.shake_256(b"stdin").digest(50 * MIB)
    shim = supervise("sha256sum", stdin=1)
    client = shim.start()
    pour(client, data)
    assert client.collect().stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_what_goes_in_comes_out_through_both_directions_at_once(supervise: Supervise) -> None:
    data = hashlib.shake_256(b"echo").digest(8 * MIB)
    shim = supervise("cat", stdin=1)
    client = shim.start()
    credit, sent, got = INITIAL_CREDIT_BYTES, 0, bytearray()
    while len(got) < len(data):
        while sent < len(data) and credit >= 65536:
            client.send(Kind.STDIN, 0, data[sent : sent + 65536])
            sent += 65536
            credit -= 65536
        frame = client.receive()
        if frame.kind == Kind.CREDIT:
            credit += int.from_bytes(frame.payload, "little")
        elif frame.kind == Kind.STDOUT:
            got += frame.payload
            client.repay(0, len(frame.payload))
    client.send(Kind.EOF)
    assert bytes(got) == data
    assert client.collect().status is not None


def test_a_first_client_that_is_slow_loses_nothing_and_the_workload_waits(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "seq 1 300000; echo done >&2")
    client = shim.start()
    time.sleep(0.3)
    logged = (shim.directory / "log").stat().st_size
    time.sleep(0.2)
    assert (shim.directory / "log").stat().st_size == logged  # it waits for the client
    ended = client.collect()
    assert ended.stdout == "".join(f"{number}\n" for number in range(1, 300001)).encode()
    shim.reap()
    assert shim.logged().encode() == ended.stdout


def test_a_first_client_without_credit_gets_no_more_than_it_has_room_for(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "seq 1 300000; sleep 1000")
    client = shim.start()
    assert client.drain() == INITIAL_CREDIT_BYTES


def test_a_slow_first_client_does_not_delay_the_record(supervise: Supervise) -> None:
    shim = supervise("seq", "1", "70000")  # more than the credit, less than credit and pipe
    client = shim.start()
    assert wait_until(lambda: (shim.directory / "exit").exists(), 5)
    assert shim.alive()
    ended = client.collect()
    assert ended.stdout.endswith(b"\n70000\n")
    assert ended.stdout.count(b"\n") == 70000
    assert ended.code == 0


def test_a_later_client_gets_output_from_its_attach_on(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "echo early; read line; echo late", stdin=1)
    first = shim.start()
    first.collect(until=b"early")
    later = shim.attach()
    first.feed(b"\n")
    assert later.collect().stdout == b"late\n"
    assert first.collect().stdout == b"late\n"


def test_a_later_client_that_keeps_up_gets_everything(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read line; seq 1 500000", stdin=2)
    first = shim.start()
    later = shim.attach()
    results: list[bytes] = []
    reader = threading.Thread(target=lambda: results.append(later.collect().stdout))
    reader.start()
    first.feed(b"\n")
    expected = first.collect().stdout
    reader.join()
    assert expected.endswith(b"\n500000\n")
    assert results == [expected]


def test_stdin_of_mode_1_ends_with_its_client(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "cat; echo end", stdin=1)
    client = shim.start()
    client.feed(b"some\n")
    client.collect(until=b"some")
    client.close()
    shim.reap()
    assert shim.logged() == "some\nend\n"


def test_stdin_of_mode_2_stays_for_the_next_client(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read a; read b; echo $a $b", stdin=2)
    client = shim.start()
    client.feed(b"one\n")
    client.send(Kind.EOF)
    client.close()
    later = shim.attach(stdin=True)
    later.feed(b"two\n")
    assert later.collect().stdout == b"one two\n"


def test_stdin_that_nobody_reads_is_no_obstacle(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "exec <&-; sleep 0.2; echo x", stdin=1)
    client = shim.start()
    pour(client, b"x" * MIB)
    assert client.collect().stdout == b"x\n"


def test_more_stdin_than_the_credit_ends_the_conversation_only(supervise: Supervise) -> None:
    shim = supervise("sleep", "1000", stdin=2)
    shim.start()
    greedy = shim.attach(stdin=True)
    with pytest.raises(TwinhullError, match="supervisor is gone"):
        greedy.feed(b"x" * (40 * 65536))
    assert shim.alive()
    shim.connect().ask(Kind.PING)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 64, b"\0" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\x01\0" + b"\0" * 8, b"\x04\0\0\0\0\0\0\0\x63\0\0\0"],
)
def test_a_client_that_does_not_speak_the_protocol_is_dropped(supervise: Supervise, garbage: bytes) -> None:
    shim = supervise("sleep", "1000")
    shim.start()
    client = shim.connect()
    client.connection.sendall(garbage)
    assert client.connection.recv(1) == b""
    shim.connect().ask(Kind.PING)


def test_a_flood_of_pings_is_answered_or_waits(supervise: Supervise) -> None:
    shim = supervise("sleep", "1000")
    shim.start()
    client = shim.connect()
    count = 2000

    def flood() -> None:
        for _ in range(count):
            client.send(Kind.PING, 0, b"x" * 1000)

    sender = threading.Thread(target=flood)
    sender.start()
    time.sleep(0.2)
    for _ in range(count):
        assert client.receive().kind == Kind.PING
    sender.join()


def test_the_terminal_has_its_size_from_the_first_moment(supervise: Supervise) -> None:
    _, ended = supervise.run("stty", "size", terminal=(33, 101), stdin=1)
    assert ended.stdout == b"33 101\r\n"


def test_a_terminal_is_resized_while_it_is_used(supervise: Supervise) -> None:
    script = "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.01; done"
    shim = supervise("sh", "-c", script, terminal=(24, 80), stdin=1)
    client = shim.start()
    client.collect(until=b"up")
    client.resize(50, 132)
    assert b"50 132" in client.collect().stdout


def test_a_terminal_sends_signals_for_keys_and_echoes_input(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "trap 'echo int; exit 3' INT; echo up; while :; do sleep 0.01; done",
                     terminal=(24, 80), stdin=1)  # fmt: skip
    client = shim.start()
    client.collect(until=b"up")
    client.feed(b"\x03")
    ended = client.collect()
    assert ended.stdout.replace(b"\r", b"").endswith(b"^Cint\n")
    assert ended.code == 3


def test_a_terminal_outlives_its_client_and_stays_usable(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read a; read b; echo $a-$b", terminal=(24, 80), stdin=1)
    client = shim.start()
    client.feed(b"one\n")
    client.collect(until=b"one")
    client.close()
    later = shim.attach(stdin=True)
    later.feed(b"two\n")
    assert b"one-two" in later.collect().stdout


def test_attach_while_another_client_types_lets_both_type(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read a; read b; echo $a $b", stdin=2)
    first = shim.start()
    second = shim.connect()
    second.send(Kind.ATTACH, 0, b"", Flag.STDIN_OPEN)
    first.feed(b"one\n")
    first.ask(Kind.PING)
    second.feed(b"two\n")
    assert second.collect().stdout == b"one two\n"
