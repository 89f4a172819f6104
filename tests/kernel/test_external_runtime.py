"""`run --runtime`: the life of a container that another OCI runtime makes, by the verbs of every workload.

twinhull-oci serves as the other runtime everywhere, runc where it is installed; crun, which refuses the hybrid cgroup
layout, with TWINHULL_PEERS and through a script that hides v2.
"""

from __future__ import annotations

import os
import shutil
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.command import COMMAND, Twinhull
from tests.support.foreground import Terminal
from tests.support.oci import PEERS, TWINHULL_OCI
from tests.support.vm import wait_until
from twinhull.host.facts import read_facts

HERE = ["twinhull-oci", *(name for name in ("runc",) if shutil.which(name))]
HERE += [name for name in ("crun",) if PEERS and shutil.which(name)]
WITHOUT_V2 = """#!/bin/sh
exec unshare -m sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"' crun "$@"
"""
SERVER = "mkdir /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www"


@pytest.fixture(params=HERE)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """The flag that names the runtime."""
    name: str = request.param
    if name == "crun":
        script = tmp_path / "crun"
        script.write_text(WITHOUT_V2)
        script.chmod(0o755)
        name = str(script)
    return "--runtime", str(TWINHULL_OCI) if name == "twinhull-oci" else name


def test_it_runs_with_its_streams_and_ends_with_its_status(twinhull: Twinhull, runtime: tuple[str, ...]) -> None:
    script = "cat; echo err >&2; exit 3"
    done = twinhull("run", "--rm", "-i", *runtime, "busybox", "sh", "-c", script, stdin="in\n")
    assert (done.exit_code, done.stdout, done.stderr.splitlines()[-1]) == (3, "in\n", "err")
    assert twinhull.names() == []


def test_what_cannot_be_executed_fails_as_everywhere(twinhull: Twinhull, runtime: tuple[str, ...]) -> None:
    done = twinhull("run", "--rm", *runtime, "busybox", "nonesuch")
    assert done.exit_code == 127 and "not found" in done.stderr, done
    done = twinhull("run", "--name", "folder", *runtime, "busybox", "/etc")
    assert done.exit_code == 126, done
    assert twinhull("ps", "-a", "--format", "json").json()[0]["status"] == "created"


def test_its_life_is_that_of_every_workload(twinhull: Twinhull, runtime: tuple[str, ...], tmp_path: Path) -> None:
    script = "trap 'exit 7' TERM; echo begun; while :; do sleep 0.05; done"
    twinhull("create", "--name", "long", *runtime, "busybox", "sh", "-c", script, check=True)
    twinhull("start", "long", check=True)
    wait_until(lambda: twinhull("logs", "long").stdout == "begun\n", "its first line")
    assert twinhull("ps", "--format", "json").json()[0]["status"] == "running"
    done = twinhull("exec", "long", "sh", "-c", "echo kept > /file; hostname; cat /proc/1/comm; exit 4")
    assert done.exit_code == 4 and done.stdout.endswith("\nsh\n")
    assert "sleep 0.05" in twinhull("exec", "long", "ps").stdout
    groups = twinhull("exec", "long", "sh", "-c", "cat /proc/self/cgroup; echo; cat /proc/1/cgroup").stdout.split(
        "\n\n"
    )
    hidden = "0::" if runtime[1].endswith("/crun") else "-"  # from which the script hides v2
    ours, theirs = ([line for line in text.split() if not line.startswith(hidden)] for text in groups)
    assert ours == theirs
    (tmp_path / "copied").write_text("copied\n")
    twinhull("cp", str(tmp_path / "copied"), "long:/copied", check=True)
    twinhull("stop", "long", check=True)
    shown = twinhull("inspect", "long", check=True).json()[0]
    assert (shown["status"], shown["exit_code"]) == ("exited", 7)
    assert shown["request"]["runtime"].startswith("/")
    twinhull("start", "long", check=True)
    assert twinhull("exec", "long", "cat", "/file", "/copied").stdout == "kept\ncopied\n"
    twinhull("kill", "long", check=True)
    assert twinhull("wait", "long").stdout == "137\n"
    twinhull("rm", "long", check=True)


def test_it_stands_still_while_it_is_paused(twinhull: Twinhull, runtime: tuple[str, ...]) -> None:
    if runtime[1].endswith("/crun") or not read_facts().cgroup2:
        pytest.skip("pausing is by a group of v2, which this runtime does not join here")
    count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"
    twinhull("run", "-d", "--name", "counts", *runtime, "busybox", "sh", "-c", count, check=True)
    twinhull("pause", "counts", check=True)
    assert twinhull("ps", "--format", "json").json()[0]["status"] == "paused"
    first = twinhull("logs", "counts").stdout
    assert twinhull("logs", "counts").stdout == first
    twinhull("unpause", "counts", check=True)
    wait_until(lambda: twinhull("logs", "counts").stdout != first, "more lines")


def test_a_terminal_has_its_size_and_changes_it(twinhull: Twinhull, runtime: tuple[str, ...]) -> None:
    own = [f"{key}={twinhull.environment()[key]}" for key in ("TWINHULL_ROOT", "TWINHULL_CONFIG")]
    script = "tty; stty size; echo rea''dy; read x; stty size; [ -c /dev/console ]; exit 9"
    words = ["run", "--rm", "-it", *runtime, "busybox", "sh", "-c", script]
    terminal = Terminal(["/usr/bin/env", *own, str(COMMAND), *words], 0, (33, 77))
    try:
        assert b"/dev/pts/0\r\n33 77\r\n" in terminal.read_until(b"ready\r\n")
        terminal.resize(44, 99)
        twinhull("ps")  # the size goes through the shim before this is answered
        terminal.type(b"\n")
        terminal.read_until(b"44 99\r\n")
        assert terminal.wait() == 9
    finally:
        terminal.close()


def test_limits_ports_settings_and_the_filter_are_those_that_were_asked_for(
    twinhull: Twinhull, runtime: tuple[str, ...]
) -> None:
    limits = ("-m", "64m", "--pids-limit", "40", "--sysctl", "net.ipv4.ip_unprivileged_port_start=0")
    where = ("--name", "server", "-p", "127.0.0.1:0:80", "--tmpfs", "/scratch", "--cap-drop", "CHOWN")
    twinhull("run", "-d", *where, *limits, *runtime, "busybox", "sh", "-c", SERVER, check=True)
    port = twinhull("port", "server", "80").stdout.strip()
    wait_until(lambda: answers(port) == "page\n", "its page")
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep -E 'Seccomp:|CapBnd' /proc/1/status; mount"
    shown = twinhull("exec", "server", "sh", "-c", script, check=True).stdout
    assert shown.startswith("0\n") and "Seccomp:\t2" in shown and "CapBnd:\t00000000a80425fa" in shown
    assert "tmpfs on /scratch" in shown
    twinhull("update", "--memory", "96m", "server", check=True)
    identity = twinhull("inspect", "server").json()[0]["id"]
    facts = read_facts()
    point = dict(facts.cgroup1).get("memory")
    limit = Path(f"{point or facts.cgroup2}/twinhull/{identity}/memory.{'limit_in_bytes' if point else 'max'}")
    assert limit.read_text() == f"{96 << 20}\n"


def answers(port: str) -> str:
    """What an HTTP server says, "" while it is not there."""
    try:
        with urllib.request.urlopen(f"http://{port}/", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def test_networks_are_shared_with_the_host_or_not_there_as_asked(twinhull: Twinhull, runtime: tuple[str, ...]) -> None:
    show = ("busybox", "sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net")
    done = twinhull("run", "--rm", "--network", "host", *runtime, *show, check=True)
    assert done.stdout.splitlines()[0] == os.readlink("/proc/self/ns/net")
    assert twinhull("run", "--rm", "--network", "none", *runtime, *show, check=True).stdout.splitlines()[1:] == ["lo"]


def test_a_workload_whose_shim_was_killed_is_ended_by_the_next_command(
    twinhull: Twinhull, runtime: tuple[str, ...]
) -> None:
    twinhull("run", "-d", "--name", "orphan", *runtime, "busybox", "sleep", "4321", check=True)
    shim = next(pid for pid in leaks.children(os.getpid()) if is_shim(pid))
    os.kill(shim, signal.SIGKILL)
    wait_until(lambda: twinhull("ps", "-a", "--format", "json").json()[0]["status"] == "exited", "its end")
    words = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert b"sleep\x004321\0" not in words
    twinhull("start", "orphan", check=True)
    assert twinhull("exec", "orphan", "echo", "here").stdout == "here\n"


def is_shim(pid: int) -> bool:
    """True for the supervisor of a workload."""
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "twinhull-shim\n"
    except OSError:
        return False


def test_what_is_made_by_a_runtime_that_fails_or_lies_is_refused(twinhull: Twinhull) -> None:
    for program in ("/bin/false", "/bin/true"):
        done = twinhull("run", "--rm", "--runtime", program, "busybox", "true")
        assert done.exit_code == 125 and f"{Path(program).name}: it failed without a word" in done.stderr
    assert "no such program" in twinhull("run", "--runtime", "nonesuch", "busybox", "true").stderr
    assert twinhull.names() == []


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--vm", "makes containers, not virtual machines"),
        ("--init", "is its own"),
        ("--userns=private", "not supported with --runtime"),
        ("--domainname=example.org", "not supported with --runtime"),
    ],
)
def test_what_another_runtime_cannot_have_is_refused(twinhull: Twinhull, flag: str, reason: str) -> None:
    done = twinhull("run", "--rm", flag, "--runtime", str(TWINHULL_OCI), "busybox", "true")
    assert done.exit_code == 125 and reason in done.stderr, done
    assert twinhull.names() == []


@pytest.mark.parametrize("fault", ["overlay", "hook", "runtime", "runtime-created", "runtime-handed", "after-ready"])
def test_a_start_that_is_killed_at_any_step_leaves_nothing(faulty: Twinhull, fault: str) -> None:
    words = ("run", "-d", "--rm", "--runtime", str(TWINHULL_OCI), "busybox", "sleep", "1000")
    faulty(*words[:1], "--rm", *words[3:6], "true", check=True)
    before = leaks.look()
    done = faulty(*words, variables={"TWINHULL_FAULT": fault})
    assert done.exit_code == 125 and done.stderr.startswith("twinhull: "), done
    assert faulty.names() == []
    assert not (left := leaks.wait_clean(before)), leaks.report(left)


@pytest.mark.parametrize("step", ["create", "start"])
def test_a_command_that_is_killed_meanwhile_leaves_nothing_half_done(
    twinhull: Twinhull, tmp_path: Path, step: str
) -> None:
    slow, mark = tmp_path / "slow", tmp_path / "mark"
    slow.write_text(f'#!/bin/sh\ncase " $* " in *" {step} "*) : > {mark}; sleep 0.5; esac\nexec {TWINHULL_OCI} "$@"\n')
    slow.chmod(0o755)
    process = twinhull.popen("run", "-d", "--name", "half", "--runtime", str(slow), "busybox", "sleep", "1000")
    wait_until(mark.exists, f"its {step}")
    process.kill()
    process.wait()
    if step == "create":
        wait_until(lambda: twinhull.names() == [], "nothing of it")
    else:  # the start was written down: it goes on without its command
        wait_until(lambda: twinhull("exec", "half", "echo", "here").stdout == "here\n", "its start")
