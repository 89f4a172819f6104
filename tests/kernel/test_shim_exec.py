"""Further processes in a running workload, and what else a client may ask of its supervisor."""

from __future__ import annotations

import json
import signal
from struct import pack

import pytest

from tests.support.command import TEST_LAUNCHER
from tests.support.shim import Client, Supervise, wait_until
from twinhull.errors import CommandNotFound
from twinhull.plan.frames import Flag, Kind
from twinhull.plan.ops import Op

SLEEP = ("sleep", "1000")


def running(supervise: Supervise, *command: str) -> Client:
    """A workload that sleeps, and its first client."""
    return supervise(*(command or SLEEP)).start()


def test_exec_has_outputs_and_a_status_of_its_own(supervise: Supervise) -> None:
    client = running(supervise)
    client.execute("sh", "-c", "echo out; echo err >&2; exit 5", stream=7)
    client.expect(Kind.STARTED, 7)
    ended = client.collect(7)
    assert (ended.stdout, ended.stderr) == (b"out\n", b"err\n")
    assert ended.code == 5


def test_exec_sees_the_processes_and_the_root_of_the_workload(supervise: Supervise) -> None:
    client = running(supervise, "sh", "-c", "touch /made; echo up; exec sleep 1000")
    client.collect(until=b"up")
    client.execute("sh", "-c", "ls /made; ps -o comm,args | grep -c 'sleep 100[0]'")
    assert client.collect(1).stdout == b"/made\n1\n"


def test_exec_of_a_missing_command_is_127_and_the_workload_goes_on(supervise: Supervise) -> None:
    client = running(supervise)
    client.execute("no-such-command")
    with pytest.raises(CommandNotFound):
        client.expect(Kind.STARTED, 1)
    client.ask(Kind.PING)


def test_exec_takes_stdin_and_its_end(supervise: Supervise) -> None:
    client = running(supervise)
    client.execute("sha256sum", ops=[Op("stdin", (1,))], flags=Flag.STDIN_OPEN)
    client.expect(Kind.STARTED, 1)
    client.feed(b"hello\n", 1)
    client.send(Kind.EOF, 1)
    digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert client.collect(1).stdout.split()[0].decode() == digest


def test_exec_has_a_terminal_when_it_asks_for_one(supervise: Supervise) -> None:
    client = running(supervise)
    client.execute("sh", "-c", "stty size; tty", ops=[Op("terminal", (40, 90))], flags=Flag.STDIN_OPEN)
    out = client.collect(1).stdout
    assert out.startswith(b"40 90\r\n/dev/pts/")


def test_close_kills_the_process_of_an_exec(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    client = shim.start()
    client.execute("sleep", "2000")
    client.expect(Kind.STARTED, 1)
    assert len(shim.processes()) == 2
    client.send(Kind.CLOSE, 1)
    assert wait_until(lambda: len(shim.processes()) == 1)


def test_a_client_that_vanishes_takes_its_execs_with_it(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    shim.start()
    client = shim.connect()
    client.execute("sleep", "2000")
    client.expect(Kind.STARTED, 1)
    client.close()
    assert wait_until(lambda: len(shim.processes()) == 1)


def test_an_exec_that_was_detached_goes_on_without_its_client(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    shim.start()
    client = shim.connect()
    client.execute("sh", "-c", "echo x; seq 1 100000; touch /done; exec sleep 2000")
    client.collect(1, until=b"x")
    client.send(Kind.DETACH, 1)
    client.close()
    later = shim.connect()

    def done() -> bool:
        later.execute("ls", "/done")
        status = later.collect(1).status
        return status is not None and status.code == 0

    assert wait_until(done)
    assert len(shim.processes()) == 2


def test_a_signal_goes_to_the_process_of_the_stream(supervise: Supervise) -> None:
    client = running(supervise)
    client.execute("sleep", "2000")
    client.expect(Kind.STARTED, 1)
    client.send(Kind.SIGNAL, 1, pack("<I", signal.SIGTERM))
    assert client.collect(1).status == (143, signal.SIGTERM, False)


def test_many_execs_run_at_once_and_one_too_many_is_refused(supervise: Supervise) -> None:
    client = running(supervise)
    for stream in range(1, 65):
        client.execute("sh", "-c", f"echo {stream}; exec sleep 2000", stream=stream)
        client.expect(Kind.STARTED, stream)
    client.execute("true", stream=65)
    ended = client.collect(65)
    assert "too many" in ended.refusal


def test_the_process_that_made_an_exec_may_be_slow(supervise: Supervise) -> None:
    client = supervise(*SLEEP, launcher=str(TEST_LAUNCHER), fault="slow:inner-made").start()
    client.execute("echo", "here")
    ended = client.collect(1)
    assert ended.stdout == b"here\n" and ended.status == (0, 0, False)


def test_a_slow_reader_of_an_exec_holds_up_nobody_else(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    client = shim.start()
    other = shim.connect()
    other.execute("seq", "1", "1000000")
    other.expect(Kind.STARTED, 1)
    for _ in range(20):
        client.collect(until=b"tick")
    assert other.collect(1).stdout.endswith(b"\n1000000\n")


def test_the_end_of_the_workload_ends_its_execs(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read line", stdin=1)
    client = shim.start()
    client.execute("sleep", "2000")
    client.expect(Kind.STARTED, 1)
    client.feed(b"\n")
    assert client.collect(1).status == (137, signal.SIGKILL, False)
    assert client.collect().status == (0, 0, False)


def test_a_paused_workload_stands_still_and_takes_no_exec(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    shim.start().close()
    client = shim.attach()
    client.ask(Kind.PAUSE, pack("<I", 1))
    client.drain()
    assert client.drain() == 0
    client.execute("true")
    refused = client.collect(1)
    assert "paused" in refused.refusal
    client.ask(Kind.PAUSE, pack("<I", 0))
    assert b"tick" in client.collect(until=b"tick").stdout


def test_a_paused_workload_can_be_killed(supervise: Supervise) -> None:
    client = running(supervise)
    client.ask(Kind.PAUSE, pack("<I", 1))
    client.signal(signal.SIGKILL)
    assert client.collect().status == (137, signal.SIGKILL, False)


def test_stats_count_the_processes_and_measure_memory_and_time(supervise: Supervise) -> None:
    client = running(
        supervise, "sh", "-c", "sleep 1000 & i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo x; wait"
    )
    client.collect(until=b"x")
    stats = json.loads(client.ask(Kind.STATS).payload)
    assert stats["pids"] == 2
    assert stats["cpu_usec"] > 1000
    assert stats["memory_bytes"] > 4096


def test_a_ping_comes_back_with_its_payload(supervise: Supervise) -> None:
    client = running(supervise)
    assert client.ask(Kind.PING, b"x" * 65536).payload == b"x" * 65536


def test_an_exec_plan_of_many_frames_arrives_whole(supervise: Supervise) -> None:
    client = running(supervise)
    words = [f"{number:0100d}" for number in range(1000)]
    client.execute("sh", "-c", "echo $#", "sh", *words)
    assert client.collect(1).stdout == b"1000\n"


def test_a_damaged_exec_plan_is_an_error_and_nothing_else(supervise: Supervise) -> None:
    client = running(supervise)
    client.send(Kind.EXEC, 3, b"TWPL not a plan", Flag.LAST)
    ended = client.collect(3)
    assert ended.error is not None
    assert ended.error[1] == 125
    client.ask(Kind.PING)
