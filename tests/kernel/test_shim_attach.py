"""The foreground end: it behaves as the program that it stands for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.foreground import Terminal, foreground, terminal
from tests.support.shim import Supervise, wait_until
from twinhull.plan.frames import Flag, Kind
from twinhull.plan.ops import Op

TRAPS = 'for s in INT TERM HUP QUIT USR1 USR2; do trap "echo $s" $s; done; echo up; while :; do sleep 0.01; done'
LOOP = "echo up; while :; do sleep 0.01; done"
STATUS_OF_A_LOST_SUPERVISOR = 137


@pytest.fixture
def opened() -> Iterator[list[Terminal]]:
    """Terminals that are closed at the end of the test."""
    terminals: list[Terminal] = []
    yield terminals
    for shown in terminals:
        shown.close()


def test_outputs_and_status_are_those_of_the_workload(supervise: Supervise) -> None:
    process = foreground(supervise("sh", "-c", "echo out; echo err >&2; exit 42"))
    assert process.communicate(timeout=20) == (b"out\n", b"err\n")
    assert process.returncode == 42


def test_stdin_streams_and_its_end_arrives(supervise: Supervise) -> None:
    process = foreground(supervise("cat", stdin=1), "--stdin")
    data = os.urandom(3 << 20)
    assert process.communicate(data, timeout=20) == (data, b"")
    assert process.returncode == 0


def test_stdin_is_left_alone_without_the_flag(supervise: Supervise, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("for somebody else\n")
    with (tmp_path / "input").open("rb") as file:
        process = foreground(supervise("true"), stdin=file)
        process.communicate(timeout=20)
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_is_no_obstacle(supervise: Supervise, closed: int) -> None:
    shim = supervise("sh", "-c", "cat; echo out; echo err >&2; exit 3", stdin=1)
    client = shim.start()
    fd = client.connection.fileno()
    script = f'exec "$0" attach --stdin --fd {fd} {closed}>&-'
    process = subprocess.run(
        ["/bin/sh", "-c", script, shim.launch.launcher],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert process.returncode == 3
    assert process.stdout == (b"" if closed == 1 else b"out\n")


def test_a_workload_killed_by_a_signal_is_128_and_its_number(supervise: Supervise) -> None:
    shim = supervise("sleep", "1000")
    process = foreground(shim)
    shim.connect().signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == 137


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_reach_the_workload(supervise: Supervise, name: str) -> None:
    process = foreground(supervise("sh", "-c", TRAPS))
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.stdout.readline().strip().decode() == name
    process.kill()
    process.communicate()


def test_without_proxy_a_signal_ends_the_client_only(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", LOOP)
    process = foreground(shim, "--no-sig-proxy")
    assert process.stdout
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert shim.processes()


def test_a_signal_that_the_caller_ignores_stays_ignored(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", TRAPS)
    client = shim.start()
    fd = client.connection.fileno()
    script = f"trap '' HUP; exec \"$0\" attach --fd {fd}"
    process = subprocess.Popen(["/bin/sh", "-c", script, shim.launch.launcher], pass_fds=(fd,), stdout=subprocess.PIPE)
    client.close()
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGUSR1)
    assert process.stdout.readline() == b"USR1\n"
    process.kill()
    process.communicate()


def test_a_supervisor_that_vanishes_is_told_and_is_137(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", LOOP)
    process = foreground(shim)
    assert process.stdout
    process.stdout.readline()
    shim.kill()
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == STATUS_OF_A_LOST_SUPERVISOR
    assert stderr == b"twinhull: supervisor lost\n  hint: twinhull ps -a shows what is left\n"


def test_a_reader_that_goes_away_ends_the_client_as_a_local_program(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "while :; do echo tick; sleep 0.001; done")
    process = foreground(shim)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=20) == -signal.SIGPIPE
    assert process.stderr and process.stdin
    assert b"nobody reads its output any more; it goes on" in process.stderr.read()
    process.stderr.close()
    process.stdin.close()
    shim.connect().ask(Kind.PING)


def test_signals_arrive_while_the_reader_of_the_output_is_stuck(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "trap 'exit 6' TERM; seq 1 100000000 & wait")
    process = foreground(shim)
    time.sleep(0.5)  # nobody reads: pipe, socket and credit are full
    process.terminate()
    assert wait_until(lambda: (shim.directory / "exit").exists())
    assert shim.record()["code"] == 6
    process.communicate(timeout=20)
    assert process.returncode == 6


def test_output_to_a_file_and_to_a_full_one(supervise: Supervise, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        process = foreground(supervise("seq", "1", "100000"), stdout=file)
        process.communicate(timeout=20)
    assert (tmp_path / "out").read_bytes().endswith(b"\n100000\n")
    with Path("/dev/full").open("wb") as full:
        process = foreground(supervise("seq", "1", "100000"), stdout=full)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (125, b"twinhull: output: No space left on device\n")


def test_exec_is_served_on_its_own_stream(supervise: Supervise) -> None:
    shim = supervise("sleep", "1000")
    shim.start()
    client = shim.connect()
    client.execute("sh", "-c", "cat; exit 12", ops=[Op("stdin", (1,))], flags=Flag.STDIN_OPEN, stream=3)
    client.expect(Kind.STARTED, 3)
    fd = client.connection.fileno()
    done = subprocess.run(
        [shim.launch.launcher, "attach", "--fd", str(fd), "--stdin", "--stream", "3"],
        input=b"through exec",
        pass_fds=(fd,),
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert (done.stdout, done.returncode) == (b"through exec", 12)


def test_a_socket_is_attached_to_by_name(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read line; echo $line; exit 8", stdin=2)
    shim.start()
    directory = os.open(shim.directory, os.O_PATH)
    argv = [shim.launch.launcher, "attach", "--socket", f"/proc/self/fd/{directory}/sock", "--stdin"]
    done = subprocess.run(argv, input=b"x\n", pass_fds=(directory,), capture_output=True, check=False, timeout=20)
    os.close(directory)
    assert (done.stdout, done.returncode) == (b"x\n", 8)


def test_a_terminal_is_raw_while_attached_and_as_before_afterwards(
    supervise: Supervise, opened: list[Terminal]
) -> None:
    shim = supervise("sh", "-c", "echo up; read a; exit 4", terminal=(24, 80), stdin=1)
    opened.append(shown := terminal(shim))
    shown.read_until(b"up")
    assert not shown.modes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    shown.type(b"x\r")
    assert shown.wait() == 4
    assert shown.modes()[3] & termios.ICANON
    assert shown.modes()[3] & termios.ECHO


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_terminal_comes_back_when_a_signal_ends_the_client(
    supervise: Supervise, opened: list[Terminal], number: signal.Signals
) -> None:
    shim = supervise("sh", "-c", LOOP, terminal=(24, 80), stdin=1)
    opened.append(shown := terminal(shim))
    shown.read_until(b"up")
    os.kill(shown.pid, number)
    assert shown.wait() == -number
    assert shown.modes()[3] & termios.ICANON
    assert shim.processes()


def test_a_terminal_comes_back_when_the_supervisor_is_lost(supervise: Supervise, opened: list[Terminal]) -> None:
    shim = supervise("sh", "-c", LOOP, terminal=(24, 80), stdin=1)
    opened.append(shown := terminal(shim))
    shown.read_until(b"up")
    shim.kill()
    assert shown.wait() == STATUS_OF_A_LOST_SUPERVISOR
    assert shown.modes()[3] & termios.ICANON
    assert b"supervisor lost" in shown.seen


def test_the_window_size_is_passed_on_at_first_and_at_each_change(supervise: Supervise, opened: list[Terminal]) -> None:
    script = "trap 'stty size' WINCH; echo up; while :; do sleep 0.01; done"
    shim = supervise("sh", "-c", script, terminal=(24, 80), stdin=1)
    opened.append(shown := terminal(shim, size=(31, 77)))
    shown.read_until(b"31 77")
    shown.resize(40, 99)
    shown.read_until(b"40 99")


def test_ctrl_c_of_a_terminal_goes_to_the_workload(supervise: Supervise, opened: list[Terminal]) -> None:
    shim = supervise("sh", "-c", f"trap 'exit 9' INT; {LOOP}", terminal=(24, 80), stdin=1)
    opened.append(shown := terminal(shim))
    shown.read_until(b"up")
    shown.type(b"\x03")
    assert shown.wait() == 9


def test_the_detach_keys_leave_the_workload_running(supervise: Supervise, opened: list[Terminal]) -> None:
    shim = supervise("sh", "-c", "echo up; while read a; do echo got $a; done", terminal=(24, 80), stdin=1)
    opened.append(shown := terminal(shim))
    shown.read_until(b"up")
    shown.type(b"one\r\x10two\r")  # Ctrl-P alone is a key like any other
    shown.read_until(b"got")
    shown.type(b"\x10")
    time.sleep(0.05)
    shown.type(b"\x11")
    assert shown.wait() == 0
    assert shown.modes()[3] & termios.ICANON
    later = shim.attach(stdin=True)
    later.feed(b"three\n")
    assert b"got three" in later.collect(until=b"got three").stdout


def test_other_detach_keys_replace_the_usual_ones(supervise: Supervise, opened: list[Terminal]) -> None:
    shim = supervise("sh", "-c", LOOP, terminal=(24, 80), stdin=1)
    opened.append(shown := terminal(shim, "--detach-keys", "ctrl-a,d"))
    shown.read_until(b"up")
    shown.type(b"\x10\x11\x01\x01d")
    assert shown.wait() == 0
    assert shim.processes()


def test_a_stop_gives_the_terminal_back_and_continuing_takes_it_again(
    supervise: Supervise, opened: list[Terminal]
) -> None:
    shim = supervise("sh", "-c", "echo up; read a; echo $a; exit 5", terminal=(24, 80), stdin=1)
    client = shim.start()
    fd = client.connection.fileno()
    # A shell in between, or the session's leader would be an orphan whose stop signals are ignored.
    script = f'set -m; "$0" attach --tty --stdin --fd {fd}; echo stopped; fg; exit $?'
    opened.append(shown := Terminal(["/bin/bash", "-c", script, shim.launch.launcher], fd))
    client.close()
    shown.read_until(b"up")
    attach = int(Path(f"/proc/{shown.pid}/task/{shown.pid}/children").read_text().split()[0])
    os.kill(attach, signal.SIGTSTP)
    shown.read_until(b"stopped")
    assert wait_until(lambda: not shown.modes()[3] & termios.ICANON)  # fg made it raw again
    shown.type(b"word\r")
    shown.read_until(b"word")
    assert shown.wait() == 5
    with contextlib.suppress(ProcessLookupError):
        os.kill(attach, signal.SIGKILL)


def test_in_the_background_it_stops_before_it_touches_the_terminal(
    supervise: Supervise, opened: list[Terminal]
) -> None:
    shim = supervise("sh", "-c", "echo up; exit 5", terminal=(24, 80), stdin=1)
    client = shim.start()
    fd = client.connection.fileno()
    script = f'set -m; "$0" attach --tty --stdin --fd {fd} & sleep 0.3; jobs; fg %1; exit $?'
    opened.append(shown := Terminal(["/bin/bash", "-c", script, shim.launch.launcher], fd))
    client.close()
    shown.read_until(b"Stopped")
    assert shown.wait() == 5
