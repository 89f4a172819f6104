"""What a process finds of itself: its limits, its environment, the descriptors of its caller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.oci import Container
from twinhull.host.facts import read_facts


def refuse_crun(container: Container) -> None:
    """The limit is "for the process", as the specification says; crun 1.8.1 has it itself when it fills a cpuset."""
    if container.runtime == "crun":
        pytest.skip("crun cannot open a new cpuset's files under such a limit: no space left on device")


@pytest.mark.parametrize("files", [10, 65])
def test_a_low_limit_of_open_files_is_in_nobodys_way_but_the_processs(container: Container, files: int) -> None:
    if files == 10:
        refuse_crun(container)
    container.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": files, "hard": files}]
    container.spec["process"]["oomScoreAdj"] = 100
    if files > 10:
        container.spec["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >/hooked"]}]}
    hooked = "/hooked\n" if files > 10 else ""
    script = "ulimit -n; cat /proc/self/oom_score_adj; ls -d /hook* || true"
    assert container.output(script) == f"{files}\n100\n{hooked}"


def test_a_process_that_joins_has_the_low_limit_too(container: Container) -> None:
    refuse_crun(container)
    container.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}]
    container.begin()
    assert container.exec("/bin/sh", "-c", "ulimit -n").stdout == "10\n"


@pytest.mark.parametrize(("user", "home"), [(0, "/root"), (1000, "/home/somebody"), (1234, "/")])
def test_home_is_what_the_roots_passwd_says(container: Container, user: int, home: str) -> None:
    """The specification leaves it open: for who has no line it is / with runc, and crun 1.8.1 gives none."""
    if container.runtime == "crun" and home == "/":
        home = ""
    lines = "root:x:0:0::/root:/bin/sh\nbroken\nsomebody:x:1000:1000::/home/somebody:/bin/sh\n"
    (container.bundle / "rootfs/etc").mkdir(exist_ok=True)
    (container.bundle / "rootfs/etc/passwd").write_text(lines)
    container.spec["process"]["user"] = {"uid": user, "gid": user}
    assert container.output('echo "$HOME"') == f"{home}\n"


def test_a_home_that_is_given_stays_and_a_passwd_that_is_none_is_no_error(ours: Container) -> None:
    (ours.bundle / "rootfs/etc").mkdir(exist_ok=True)
    (ours.bundle / "rootfs/etc/passwd").unlink(missing_ok=True)
    (ours.bundle / "rootfs/etc/passwd").symlink_to("/proc/self/mem")
    assert ours.output('echo "$HOME"') == "/\n"
    ours.spec["process"]["env"].append("HOME=/given")
    assert ours.output('echo "$HOME"') == "/given\n"
    ours.spec["process"]["env"][-1] = "HOME="
    assert ours.output('echo "$HOME"') == "/\n"


def test_an_effective_capability_that_is_not_permitted_is_a_warning(ours: Container) -> None:
    held = {"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL", "CAP_CHOWN"]}
    ours.spec["process"]["capabilities"] = held
    assert ours.sh("true").run().returncode == 0
    rows = [json.loads(line) for line in ours.log.read_text().splitlines()]
    assert [(row["level"], "CAP_CHOWN" in row["msg"]) for row in rows] == [("warning", True)]


def test_sockets_of_a_service_manager_are_passed_on(container: Container) -> None:
    if container.runtime == "crun":
        pytest.skip("it runs in a namespace of the test's own, by another process than the one that is told")
    container.sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4").write()
    for name in ("first", "second"):
        (container.scratch / name).write_text(f"{name}\n")
    first, second = (os.open(container.scratch / name, os.O_RDONLY) for name in ("first", "second"))
    begin = (
        "import fcntl, os, sys; "
        "first, second = (fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]);"
        "os.dup2(first, 3); os.dup2(second, 4);"
        "os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid())); os.execvp(sys.argv[3], sys.argv[3:])"
    )
    words = container.argv("run", "--bundle", str(container.bundle), container.id)
    argv = [sys.executable, "-c", begin, str(first), str(second), *words]
    done = subprocess.run(argv, pass_fds=(first, second), capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == ("2 1\nfirst\nsecond\n", 0), done.stderr
    os.close(first)
    os.close(second)


def test_a_weight_of_block_devices_is_that_of_the_scheduler_that_is_there(ours: Container) -> None:
    ours.spec["linux"]["resources"]["blockIO"] = {"weight": 100}
    ours.begin()
    path = ours.spec["linux"]["cgroupsPath"]
    facts = read_facts()
    place = f"{facts.cgroup2}{path}/io.weight"
    if "io" not in facts.cgroup2_controllers:
        place = f"{dict(facts.cgroup1)['blkio']}{path}/blkio{'.bfq' if facts.bfq else ''}.weight"
    assert Path(place).read_text().split()[-1] == ("100" if "blkio." in place else "910")
    ours.do("update", "--blkio-weight", "200", ours.id)
    assert Path(place).read_text().split()[-1] == ("200" if "blkio." in place else "1920")


def test_lines_of_a_terminal_end_as_the_program_ends_them_where_they_go_to_a_pipe(ours: Container) -> None:
    ours.spec["process"]["terminal"] = True
    assert ours.output("echo one; echo two") == "one\ntwo\n"


def test_what_is_listed_and_counted_is_one_line_without_spaces_in_runcs_order(ours: Container) -> None:
    ours.begin()
    row = json.loads(ours.do("list", "--format", "json").stdout)[0]
    assert [*row][:6] == ["ociVersion", "id", "pid", "status", "bundle", "rootfs"]
    assert ours.do("events", "--stats", ours.id).stdout.startswith(f'{{"type":"stats","id":"{ours.id}","data":{{')


def test_of_a_variable_that_is_given_twice_the_last_value_counts(ours: Container) -> None:
    ours.spec["process"]["env"] = ["PATH=/bin", "ONE=first", "TWO=2", "ONE=last"]
    assert [line for line in ours.output("env").splitlines() if line.startswith(("ONE", "TWO"))] == [
        "ONE=last",
        "TWO=2",
    ]


def test_exec_hands_on_descriptors_of_its_caller(container: Container, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("hello\n")
    container.begin()
    words = container.argv("exec", "--preserve-fds", "2", container.id, "cat", "/proc/self/fd/4")
    script = 'exec 3</dev/null 4<&0 </dev/null; exec "$@"'
    with (tmp_path / "given").open() as given:
        done = subprocess.run(
            ["sh", "-c", script, "sh", *words], stdin=given, capture_output=True, text=True, timeout=60
        )
    assert done.stdout == "hello\n", done.stderr


def test_exec_without_them_hands_on_none(ours: Container) -> None:
    ours.begin()
    script = 'exec 4</etc/passwd </dev/null; exec "$@"'
    words = ["sh", "-c", script, "sh", *ours.argv("exec", ours.id, "ls", "/proc/self/fd")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "1", "2", "3"], done.stderr


def test_exec_has_the_personality_of_the_container(ours: Container) -> None:
    ours.spec["linux"]["personality"] = {"domain": "LINUX32"}
    ours.begin()
    assert ours.exec("uname", "-m").stdout == "i686\n"


def test_exec_waits_for_a_paused_container_if_told_to(container: Container) -> None:
    if container.runtime == "crun":
        pytest.skip("crun has no such option")
    container.begin()
    container.do("pause", container.id)
    words = container.argv("exec", "--ignore-paused", container.id, "echo", "there")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        container.do("resume", container.id)
        assert waiting.communicate(timeout=20)[0] == "there\n"


def test_options_may_follow_the_container(ours: Container) -> None:
    """As with runc, except where a command or a signal follows."""
    ours.begin()
    ours.do("update", ours.id, "--pids-limit", "50")
    assert ours.exec("ls", "-d", "/bin").stdout == "/bin\n"
    ours.do("delete", ours.id, "--force")


def test_a_capability_of_exec_is_ambient_where_the_container_has_it_inheritable(ours: Container) -> None:
    """As with runc since 1.2."""
    sets = ours.spec["process"]["capabilities"]
    sets.update(inheritable=["CAP_CHOWN", "CAP_SYSLOG"], ambient=["CAP_CHOWN"])
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = [*sets[kind], "CAP_CHOWN", *(["CAP_SYSLOG"] if kind == "bounding" else [])]
    ours.begin()
    shown = ours.do("exec", "--cap", "CAP_SYSLOG", ours.id, "grep", "CapAmb", "/proc/self/status").stdout
    assert int(shown.split()[1], 16) == 1 << 34 | 1


def test_exec_warns_of_what_it_cannot_grant_and_of_nothing_else(ours: Container) -> None:
    ours.spec["process"]["capabilities"]["inheritable"] = ["CAP_KILL"]
    ours.begin()
    words = ("--cap", "CAP_FOO", "--cap", "CAP_SYS_TIME", ours.id, "true")
    assert ours.do("exec", *words).stderr == "warning: process.capabilities: cannot be granted: CAP_FOO\n"
    assert ours.exec("true").stderr == ""
    process = {**ours.spec["process"], "args": ["true"], "capabilities": {"bounding": ["CAP_FOO"]}}
    path = ours.scratch / "process.json"
    path.write_text(json.dumps(process))
    assert "CAP_FOO" in ours.do("exec", "--process", str(path), ours.id).stderr
    process["user"] = {"uid": 0, "gid": 0, "umask": 99999}
    path.write_text(json.dumps(process))
    failed = ours.do("exec", "--process", str(path), ours.id, check=False)
    assert failed.returncode == 255 and failed.stderr.startswith("process.user.umask")
