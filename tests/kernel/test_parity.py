"""One suite for both isolations: what a user sees of a workload is the same behind either wall."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import Result
from tests.support.wall import START_S, Wall


@pytest.mark.parity("run: output and exit status")
def test_output_streams_and_exit_status_are_the_workloads(wall: Wall) -> None:
    result = wall.run("busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert result == Result(7, "out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [(("/no/such/program",), 127), (("nosuchprogram",), 127), (("/etc",), 126), (("/etc/passwd",), 126)],
)
@pytest.mark.parity("exit codes 125, 126 and 127")
def test_a_program_that_cannot_run_has_dockers_exit_code(wall: Wall, command: tuple[str, ...], code: int) -> None:
    result = wall.run("busybox", *command)
    assert result.exit_code == code, result.stderr
    assert command[0] in result.stderr


@pytest.mark.parity("exit code of a death by a signal")
def test_death_by_a_signal_is_128_plus_its_number(wall: Wall) -> None:
    assert wall.run("busybox", "sh", "-c", "kill -TERM $$; sleep 5").exit_code in (0, 143)  # pid 1 ignores it
    assert wall.run("busybox", "sh", "-c", "sh -c 'kill -KILL $$'; exit $?").exit_code == 137


@pytest.mark.parity("stdin and its closing")
def test_stdin_reaches_the_workload_and_its_end_too(wall: Wall) -> None:
    text = "line\n" * 50_000
    result = wall.run("-i", "busybox", "sh", "-c", "wc -c", stdin=text)
    assert result.stdout.strip() == str(len(text))


@pytest.mark.parity("stdin and its closing")
def test_the_end_of_stdin_ends_a_workload_that_is_kept_as_well(wall: Wall) -> None:
    kept = wall(*wall.words("-i", "--name", "kept", "busybox", "cat"), stdin="first\n")
    assert (kept.exit_code, kept.stdout) == (0, "first\n")
    again = wall("start", "-a", "-i", "kept", stdin="second\n")
    assert (again.exit_code, again.stdout) == (0, "second\n")
    wall("create", "--isolation", wall.isolation, "--network", "none", "-i", "--name", "made", "busybox", "cat")
    made = wall("start", "-a", "-i", "made", stdin="third\n")
    assert (made.exit_code, made.stdout) == (0, "third\n")


@pytest.mark.parity("attach")
def test_stdin_of_a_detached_workload_waits_for_who_attaches(wall: Wall) -> None:
    wall.detached("-i", "--name", "waits", "busybox", "sh", "-c", "read line; echo got $line")
    assert wall("ps", "--format", "json", check=True).json()[0]["status"] == "running"
    assert wall("attach", "waits", stdin="it\n").stdout == "got it\n"


@pytest.mark.parity("run: a command line of a megabyte")
def test_thousands_of_words_and_a_megabyte_of_them_arrive(wall: Wall) -> None:
    many = wall.run("busybox", "sh", "-c", "echo $#", *map(str, range(4000)))
    assert many.stdout.strip() == "3999", many.stderr
    large = wall.run("busybox", "sh", "-c", "echo $#", "x", *["y" * 120_000] * 10)
    assert large.stdout.strip() == "10", large.stderr


@pytest.mark.parity("`--network none`")
def test_without_a_network_only_loopback_is_up(wall: Wall) -> None:
    shown = wall.run("--network", "none", "busybox", "ip", "-o", "link").stdout
    assert [line.split()[1] for line in shown.splitlines() if ",UP" in line] == ["lo:"], shown


@pytest.mark.parity("stdin and its closing")
def test_without_interactive_stdin_is_empty(wall: Wall) -> None:
    assert wall.run("busybox", "wc", "-c", stdin="unseen").stdout.strip() == "0"


@pytest.mark.parity("run: output and exit status")
def test_a_megabyte_of_output_arrives_whole(wall: Wall) -> None:
    result = wall.run("busybox", "sh", "-c", "dd if=/dev/zero bs=1024 count=1024 2>/dev/null | tr '\\0' x")
    assert len(result.stdout) == 1 << 20


@pytest.mark.parity("`-e`, `-w`, `-u`, `-h`")
def test_environment_directory_user_and_name_are_as_asked(wall: Wall) -> None:
    script = "echo $A-$B; pwd; id -u; id -g; hostname; ls /sys/fs/cgroup > /dev/null"
    result = wall.run(
        *("-e", "A=1", "-e", "B=two words", "-w", "/tmp/made", "-u", "12:34", "-h", "box"),
        *("busybox", "sh", "-c", script),
    )
    assert result.stdout.splitlines() == ["1-two words", "/tmp/made", "12", "34", "box"], result.stderr


@pytest.mark.parity("`--env-file`")
def test_a_name_with_a_space_in_an_environment_file_is_refused(wall: Wall, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("BAD KEY=2\n")
    result = wall.run("--env-file", str(tmp_path / "env"), "busybox", "true")
    assert (result.exit_code, "no spaces" in result.stderr) == (125, True)


@pytest.mark.parity("`--env-file`")
def test_an_environment_file_is_read(wall: Wall, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# comment\n\nFROM_FILE=yes\n")
    assert wall.run("--env-file", str(tmp_path / "env"), "busybox", "sh", "-c", "echo $FROM_FILE").stdout == "yes\n"


@pytest.mark.parity("`--entrypoint`")
def test_the_entrypoint_can_be_replaced(wall: Wall) -> None:
    assert wall.run("--entrypoint", "echo", "busybox", "said").stdout == "said\n"


@pytest.mark.parity("a world of processes of its own")
def test_the_process_is_pid_1_of_its_own_world(wall: Wall) -> None:
    result = wall.run("busybox", "sh", "-c", "echo $$; ls /proc | grep -c '^[0-9]'")
    assert result.stdout.splitlines()[0] == "1"
    assert int(result.stdout.splitlines()[1]) <= 4


@pytest.mark.parity("the usual capabilities")
def test_capabilities_are_dockers_fourteen(wall: Wall) -> None:
    status = wall.run("busybox", "cat", "/proc/self/status").stdout
    assert re.search(r"CapEff:\s+00000000a80425fb", status), status
    assert re.search(r"CapBnd:\s+00000000a80425fb", status), status


@pytest.mark.parity("the usual capabilities")
def test_another_user_holds_no_capability(wall: Wall) -> None:
    assert re.search(r"CapEff:\s+0{16}", wall.run("-u", "1000", "busybox", "cat", "/proc/self/status").stdout)


@pytest.mark.parity("the usual system call filter and masked paths")
def test_seccomp_filters_and_masks_cover(wall: Wall) -> None:
    result = wall.run(
        "busybox", "sh", "-c", "grep Seccomp: /proc/self/status; wc -c < /proc/timer_list; unshare -m true"
    )
    assert "Seccomp:\t2" in result.stdout
    assert result.stdout.splitlines()[1] == "0"
    assert result.exit_code != 0


@pytest.mark.parity("the usual system call filter and masked paths")
def test_proc_sys_is_read_only(wall: Wall) -> None:
    assert wall.run("busybox", "sh", "-c", "echo x > /proc/sys/kernel/domainname").exit_code != 0


@pytest.mark.parity("the usual devices")
def test_device_nodes_can_be_made_but_not_opened(wall: Wall) -> None:
    script = (
        "mknod /tmp/disk b 254 0 && echo made; head -c1 /tmp/disk >/dev/null 2>&1 && echo opened; echo x >/dev/null"
    )
    assert wall.run("busybox", "sh", "-c", script).stdout == "made\n"


@pytest.mark.parity("`--read-only`")
def test_a_read_only_root_refuses_writes(wall: Wall) -> None:
    script = "for f in /x /dev/shm/x /etc/hosts /etc/hostname /etc/resolv.conf; do touch $f; echo $?; done"
    result = wall.run("--read-only", "busybox", "sh", "-c", script)
    assert result.stdout.splitlines() == ["1", "0", "1", "1", "1"], result.stderr


@pytest.mark.parity("restart, with what was written")
def test_what_was_written_survives_a_restart(wall: Wall) -> None:
    wall.detached("--name", "keeper", "busybox", "sh", "-c", "echo x >> /count; wc -l < /count; sleep 1000")
    wall.wait_for_log("keeper", "1\n")
    wall("restart", "-t", "0", "keeper", check=True)
    wall.wait_for_log("keeper", "1\n2\n")


@pytest.mark.parity("logs")
def test_logs_keep_both_streams_apart_and_tail_counts_lines(wall: Wall) -> None:
    wall.detached("--name", "talker", "busybox", "sh", "-c", "for i in 1 2 3; do echo out$i; echo err$i >&2; done")
    wall("wait", "talker", check=True)
    result = wall("logs", "talker")
    assert result.stdout == "out1\nout2\nout3\n"
    assert result.stderr == "err1\nerr2\nerr3\n"
    assert wall("logs", "--tail", "-1", "talker") == result, "as Docker has it"
    tail = wall("logs", "--tail", "1", "talker")
    assert len((tail.stdout + tail.stderr).splitlines()) == 1


@pytest.mark.parity("logs")
def test_logs_of_a_span_of_time(wall: Wall) -> None:
    wall.detached("--name", "ticks", "busybox", "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.2; done; sleep 1000")
    wall.wait_for_log("ticks", "1\n2\n3\n4\n")
    times = [line.split()[0] for line in wall("logs", "-t", "ticks").stdout.splitlines()]
    assert wall("logs", "--since", times[1], "--until", times[2], "ticks").stdout == "2\n3\n"
    assert wall("logs", "--until", times[2], "--tail", "1", "ticks").stdout == "3\n"
    assert wall("logs", "-f", "--until", times[3], "ticks").stdout == "1\n2\n3\n4\n", "that time is over"
    assert wall("logs", "--since", "1h", "--until", "30m", "ticks").stdout == ""


@pytest.mark.parity("logs")
def test_follow_ends_with_the_workload(wall: Wall) -> None:
    wall.detached("--name", "slow", "busybox", "sh", "-c", "echo a; sleep 1; echo b")
    assert wall("logs", "-f", "slow").stdout == "a\nb\n"


@pytest.mark.parity("exec: `-i`, `-e`, `-u`, `-w`, exit status")
def test_exec_runs_inside_with_its_own_status(wall: Wall) -> None:
    wall.detached("--name", "host", "-e", "FROM=run", "busybox", "sleep", "1000")
    result = wall("exec", "-e", "MORE=exec", "host", "sh", "-c", "echo $FROM $MORE; cat; exit 9")
    assert result == Result(9, "run exec\n", "")
    assert wall("exec", "-i", "host", "cat", stdin="through").stdout == "through"
    assert wall("exec", "-u", "5", "-w", "/tmp", "host", "sh", "-c", "id -u; pwd").stdout == "5\n/tmp\n"
    assert wall("exec", "host", "nosuchprogram").exit_code == 127
    assert wall("exec", "host", "ps").stdout.count("sleep 1000") == 1


@pytest.mark.parity("exec `-d`")
def test_a_detached_exec_goes_on_after_its_command(wall: Wall) -> None:
    wall.detached("--name", "host", "busybox", "sh", "-c", "tail -f /dev/null")
    script = "echo unseen; sleep 1; echo late > /proof; exec sleep 1001"
    assert wall("exec", "-d", "host", "sh", "-c", script) == Result(0, "", "")
    deadline = time.monotonic() + START_S
    while wall("exec", "host", "cat", "/proof").stdout != "late\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert wall("exec", "host", "ps").stdout.count("sleep 1001") == 1
    assert wall("exec", "-d", "host", "nosuchprogram").exit_code == 127
    assert wall("logs", "host").stdout == ""


@pytest.mark.parity("exec: `-i`, `-e`, `-u`, `-w`, exit status")
def test_exec_into_what_does_not_run_is_refused(wall: Wall) -> None:
    wall("create", "--isolation", wall.isolation, "--network", "none", "--name", "still", "busybox", check=True)
    result = wall("exec", "still", "true")
    assert result.exit_code == 125
    assert "not running" in result.stderr


@pytest.mark.parity("stop")
def test_stop_asks_first_and_kills_later(wall: Wall) -> None:
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    wall.detached("--name", "polite", "busybox", "sh", "-c", script)
    wall.wait_for_log("polite", "ready\n")
    wall("stop", "-t", "30", "polite", check=True)
    assert wall("wait", "polite").stdout == "5\n"
    wall.detached("--name", "stubborn", "busybox", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    wall.wait_for_log("stubborn", "ready\n")
    began = time.monotonic()
    wall("stop", "-t", "1", "stubborn", check=True)
    assert 1.0 <= time.monotonic() - began < 20.0
    assert wall("wait", "stubborn").stdout == "137\n"


@pytest.mark.parity("kill, and signals to the command")
def test_kill_sends_the_signal_that_is_named(wall: Wall) -> None:
    script = "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.1; done"
    wall.detached("--name", "target", "busybox", "sh", "-c", script)
    wall.wait_for_log("target", "ready\n")
    wall("kill", "-s", "USR1", "target", check=True)
    assert wall("wait", "target").stdout == "3\n"


@pytest.mark.parity("kill, and signals to the command")
def test_signals_to_the_command_reach_the_workload(wall: Wall) -> None:
    script = "trap 'echo got INT; exit 4' INT; echo ready; while :; do sleep 0.1; done"
    with wall.twinhull.popen(*wall.words("--rm", "busybox", "sh", "-c", script), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "got INT\n"
        assert process.wait(30) == 4


@pytest.mark.parity("ps and inspect")
def test_ps_and_inspect_tell_what_there_is(wall: Wall) -> None:
    identity = wall.detached("--name", "seen", "busybox", "sleep", "1000")
    (row,) = wall("ps", "--format", "json", check=True).json()
    assert (row["id"], row["name"], row["isolation"], row["status"]) == (identity, "seen", wall.isolation, "running")
    assert identity[:12] in wall("ps", check=True).stdout
    wall("kill", "seen", check=True)
    (row,) = wall("inspect", "seen", check=True).json()
    assert (row["status"], row["exit_code"]) == ("exited", 137)
    assert wall("ps", "--format", "json", check=True).json() == []


@pytest.mark.parity("create, start `-a`, rm")
def test_create_then_start_attached(wall: Wall) -> None:
    wall("create", "--isolation", wall.isolation, "--network", "none", "--name", "later", "busybox", "echo", "now")
    (row,) = wall("ps", "-a", "--format", "json", check=True).json()
    assert row["status"] == "created"
    assert wall("start", "-a", "later").stdout == "now\n"


@pytest.mark.parity("create, start `-a`, rm")
def test_a_name_in_use_is_refused_and_free_again_after_rm(wall: Wall) -> None:
    wall.detached("--name", "taken", "busybox", "sleep", "1000")
    result = wall.run("--name", "taken", "busybox", "true")
    assert result.exit_code == 125
    assert "in use" in result.stderr
    assert wall("rm", "-f", "nobody", "taken", check=True).stdout == "taken\n", "what was not there was not removed"
    assert wall.run("--name", "taken", "busybox", "true").exit_code == 0
    assert wall.run("--name", "taken", "busybox", "true").exit_code == 0, "--rm frees the name at once"


@pytest.mark.parity("attach")
def test_a_client_that_dies_does_not_take_the_workload_with_it(wall: Wall) -> None:
    words = wall.words("--name", "orphan", "busybox", "sh", "-c", "echo ready; sleep 1000")
    with wall.twinhull.popen(*words, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.kill()
    (row,) = wall("ps", "--format", "json", check=True).json()
    assert row["status"] == "running"


@pytest.mark.parity("attach")
def test_attach_sees_what_comes_from_now_on(wall: Wall) -> None:
    wall.detached("--name", "spoken", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.2; done")
    with wall.twinhull.popen("attach", "--sig-proxy=false", "spoken", stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "tick\n"
        process.kill()


@pytest.mark.parity("`-it`: a terminal with its size")
def test_a_terminal_has_its_size_from_the_first_moment(wall: Wall) -> None:
    script = f"stty rows 33 cols 77; exec {command_line(wall, 'stty size; tty; exit 6')}"
    pid, master = pty.fork()
    if pid == 0:
        os.execve("/bin/sh", ["sh", "-c", script], wall.twinhull.environment())
    shown = b""
    while select.select([master], [], [], 60)[0]:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        shown += part
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    assert shown.decode().splitlines() == ["33 77", "/dev/pts/0"], shown


def command_line(wall: Wall, script: str) -> str:
    """A run on a terminal, as a shell line."""
    from tests.support.command import COMMAND

    return f"{COMMAND} run --rm -it --network none --isolation {wall.isolation} busybox sh -c '{script}'"


@pytest.mark.parity("`--memory`, `--pids-limit`")
def test_memory_and_process_limits_hold(wall: Wall) -> None:
    eater = "dd if=/dev/zero of=/dev/null bs=200M count=1 && echo survived"
    result = wall.run("--memory", "64m", "busybox", "sh", "-c", eater)
    assert "survived" not in result.stdout
    assert result.exit_code != 0
    forks = "for i in $(seq 40); do sleep 3 & done 2>&1; wait"
    result = wall.run("--pids-limit", "10", "busybox", "sh", "-c", forks)
    assert "fork" in result.stdout + result.stderr


@pytest.mark.parity("`--memory`, `--pids-limit`")
def test_exec_joins_a_workload_with_limits_and_finds_them(wall: Wall) -> None:
    wall.detached("--memory", "64m", "--pids-limit", "50", "--name", "limited", "busybox", "sleep", "1000")
    limits = "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max"
    result = wall("exec", "limited", "sh", "-c", f"{limits}; cat /proc/self/cgroup | wc -l")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "50"


@pytest.mark.parity("ps and inspect")
def test_the_json_of_inspect_names_the_request(wall: Wall) -> None:
    wall("create", "--isolation", wall.isolation, "--name", "asked", "--memory", "64m", "busybox", check=True)
    (row,) = json.loads(wall("inspect", "asked", check=True).stdout)
    assert row["request"]["memory_bytes"] == 64 << 20


@pytest.mark.parity("`--network host`", refused="the host's network is its kernel's, and the guest has another kernel")
def test_the_network_of_the_host_is_refused_to_a_virtual_machine_with_the_reason(wall: Wall) -> None:
    result = wall.run("--network", "host", "busybox", "true")
    if wall.isolation == "vm":
        assert (result.exit_code, "a kernel of its own" in result.stderr) == (125, True)
    else:
        assert result.exit_code == 0, result


@pytest.mark.parity("logs")
def test_output_beyond_what_the_log_holds_arrives_whole_and_the_log_says_what_is_gone(wall: Wall) -> None:
    lines = 600_000
    result = wall(*wall.words("--name", "loud", "busybox", "seq", str(lines)))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == lines and result.stdout.endswith(f"\n{lines}\n")
    kept = wall("logs", "loud", check=True)
    assert kept.stderr.startswith("twinhull: what was written first is gone")
    assert kept.stdout.endswith(f"\n{lines}\n")
