"""The life of a workload behind its shim, judged by the kernel, the instance directory and what a client is told."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.command import TEST_LAUNCHER
from tests.support.launch import NEWIPC, NEWNS, NEWUTS
from tests.support.shim import Supervise, wait_until
from twinhull.errors import CommandNotExecutable, CommandNotFound, LaunchError, TwinhullError
from twinhull.plan.frames import Kind
from twinhull.plan.ops import Op

SLEEP = ("sleep", "1000")
# Every point at which the test build can kill itself, in the order of a life.
BEFORE_START = ("after-seal", "after-lock", "after-host", "after-child", "after-ready")
AFTER_START = (
    "after-start",
    "after-exec",
    "before-record",
    "record-written",
    "after-record",
    "after-undo",
    "after-mark",
)
MEMORY_LIMIT_KB = 300  # SPEC.md: supervisor


def test_a_command_runs_and_its_outputs_and_status_arrive(supervise: Supervise) -> None:
    shim, ended = supervise.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert ended.code == 3
    assert (ended.stdout, ended.stderr, ended.eof) == (b"out\n", b"err\n", True)
    assert sorted(os.listdir(shim.directory)) == ["alive", "exit", "log"]


def test_the_exit_record_says_how_and_when_and_the_mark_is_there(supervise: Supervise) -> None:
    before = time.time()
    shim, _ = supervise.run("sh", "-c", "exit 7")
    record = shim.record()
    assert (record["code"], record["signal"], record["oom"]) == (7, 0, False)
    assert before - 1 < record["finished"] < time.time() + 1
    assert shim.exited.read_bytes() == b""
    assert not shim.alive()


def test_a_signal_ends_the_process_and_is_told_as_128_and_its_number(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    client = shim.start()
    client.signal(signal.SIGKILL)
    ended = client.collect()
    assert ended.status == (137, signal.SIGKILL, False)
    shim.reap()
    assert (shim.record()["code"], shim.record()["signal"]) == (137, 9)


def test_a_signal_reaches_a_process_that_handles_it(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    client = shim.start()
    client.collect(until=b"ready")
    client.signal(signal.SIGTERM)
    ended = client.collect()
    assert (ended.stdout, ended.code) == (b"got\n", 5)


def test_a_signal_to_all_reaches_every_process_of_the_workload(supervise: Supervise) -> None:
    script = (
        "trap 'echo mother' USR1; (trap 'echo child; exit' USR1; echo up; while :; do sleep 0.01; done) & wait; wait"
    )
    shim = supervise("sh", "-c", script)
    client = shim.start()
    client.collect(until=b"up")
    client.signal(signal.SIGUSR1, everyone=True)
    ended = client.collect()
    assert sorted(ended.stdout.split()) == [b"child", b"mother"]


def test_a_missing_command_is_127_and_leaves_a_record(supervise: Supervise) -> None:
    shim = supervise("no-such-command")
    with pytest.raises(CommandNotFound):
        shim.client.start()
    shim.reap()
    assert shim.record()["code"] == 127
    assert shim.exited.exists()


def test_a_file_that_cannot_be_run_is_126(supervise: Supervise) -> None:
    shim = supervise("/bin")
    with pytest.raises(CommandNotExecutable):
        shim.client.start()
    shim.reap()
    assert shim.record()["code"] == 126


def test_an_op_that_fails_is_told_and_everything_is_undone(supervise: Supervise) -> None:
    shim = supervise.spawn(*SLEEP, host=[Op("write", ("/proc/sys/no/such/file", "1"))])
    with pytest.raises(LaunchError, match="write /proc/sys/no/such/file"):
        shim.client.expect(Kind.READY)
    shim.reap()
    assert not Path(shim.cgroup).exists()
    assert sorted(os.listdir(shim.directory)) == ["alive"]


def test_a_client_that_leaves_before_start_leaves_nothing(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    assert shim.processes()
    shim.client.close()
    shim.reap()
    assert not Path(shim.cgroup).exists()
    assert sorted(os.listdir(shim.directory)) == ["alive"]


def test_the_workload_goes_on_without_its_first_client(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    shim.start().close()
    later = shim.attach()
    assert b"tick" in later.collect(until=b"tick").stdout
    later.signal(signal.SIGKILL)
    ended = later.collect()
    assert ended.status is not None
    assert ended.status.signal == signal.SIGKILL


def test_kill_9_of_the_shim_kills_the_workload(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    shim.start()
    assert shim.processes()
    shim.kill()
    assert wait_until(lambda: not shim.processes())
    assert not shim.alive()
    assert not (shim.directory / "exit").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1])
def test_no_other_signal_ends_the_shim(supervise: Supervise, number: int) -> None:
    shim = supervise(*SLEEP)
    client = shim.start()
    os.kill(shim.pid, number)
    client.ask(Kind.PING)
    assert shim.alive()
    assert shim.processes()


def test_a_second_shim_of_the_same_directory_is_refused_and_undoes_nothing(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    client = shim.start()
    first = shim.pid
    shim.spawn(SLEEP)
    with pytest.raises(LaunchError, match="has a supervisor already"):
        shim.client.expect(Kind.READY)
    shim.reap()
    shim.pid, shim.client = first, client
    client.ask(Kind.PING)
    assert shim.processes()
    assert (shim.directory / "sock").exists()


def test_every_client_hears_of_the_end(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read line; exit 9", stdin=1)
    first = shim.start()
    attached, waiting = shim.attach(), shim.connect()
    waiting.send(Kind.WAIT)
    waiting.ask(Kind.PING)
    first.feed(b"go\n")
    for client in (first, attached, waiting):
        ended = client.collect()
        assert ended.code == 9


def test_the_end_is_told_after_everything_is_undone(supervise: Supervise) -> None:
    shim = supervise("true")
    shim.start().collect()
    assert not Path(shim.cgroup).exists()
    assert not (shim.directory / "undo").exists()


def test_a_descendant_that_keeps_the_output_open_delays_the_end_by_two_seconds(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "sleep 1000 & echo x", namespaces=NEWNS | NEWUTS | NEWIPC)
    started = time.monotonic()
    ended = shim.start().collect()
    assert (ended.stdout, ended.code) == (b"x\n", 0)
    assert 1.5 < time.monotonic() - started < 4


def test_the_launcher_cannot_be_written_from_what_the_shim_shows(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    shim.start()
    assert os.statvfs(f"/proc/{shim.pid}/exe").f_flag & os.ST_RDONLY
    with pytest.raises(OSError):
        os.open(f"/proc/{shim.pid}/exe", os.O_WRONLY)


def test_a_descriptor_left_open_reaches_neither_the_shim_nor_the_workload(supervise: Supervise, tmp_path: Path) -> None:
    stranger = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(stranger, True)
    try:
        shim = supervise("ls", "/proc/self/fd")
        held = [os.readlink(f"/proc/{shim.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{shim.pid}/fd")]
        assert str(tmp_path) not in held
        shown = shim.start().collect().stdout.split()
    finally:
        os.close(stranger)
    assert len(shown) == 4, shown  # the standard streams and ls's own


def test_the_shim_leads_a_session_of_its_own_and_holds_no_directory(supervise: Supervise) -> None:
    shim = supervise(*SLEEP)
    assert os.getsid(shim.pid) == shim.pid
    assert os.readlink(f"/proc/{shim.pid}/cwd") == "/"


def test_a_shim_takes_less_than_the_promised_memory(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "seq 100000; sleep 1000")
    client = shim.start()
    client.collect(until=b"100000\n")

    def pss_kb() -> int:
        found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{shim.pid}/smaps_rollup").read_text(), re.MULTILINE)
        assert found
        return int(found[1])

    assert wait_until(lambda: pss_kb() <= MEMORY_LIMIT_KB, 3), f"{pss_kb()} KB"


@pytest.mark.parametrize("fault", BEFORE_START)
def test_a_shim_killed_before_start_leaves_only_what_the_undo_list_takes(supervise: Supervise, fault: str) -> None:
    shim = supervise.spawn(*SLEEP, launcher=str(TEST_LAUNCHER), fault=fault)
    if fault == "after-ready":
        shim.client.expect(Kind.READY)
    with pytest.raises(TwinhullError, match="supervisor is gone"):
        shim.client.expect(Kind.STARTED)
    shim.reap()
    assert not shim.alive()
    assert not (shim.directory / "exit").exists()
    assert wait_until(lambda: not shim.processes())


@pytest.mark.parametrize("fault", AFTER_START)
def test_a_shim_killed_after_start_leaves_no_process_and_no_half_record(supervise: Supervise, fault: str) -> None:
    shim = supervise("sh", "-c", "echo x", launcher=str(TEST_LAUNCHER), fault=fault)
    with pytest.raises(TwinhullError, match="supervisor is gone"):
        shim.start().collect()
    shim.reap()
    recorded = AFTER_START.index(fault) >= AFTER_START.index("after-record")
    assert (shim.directory / "exit").exists() == recorded
    assert (shim.directory / "undo").exists() == (AFTER_START.index(fault) < AFTER_START.index("after-undo"))
    assert wait_until(lambda: not shim.processes())
    assert not shim.alive()
