"""Processes that join a running container: where they are, what they keep, what they may not reach."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.test_launcher_host import UNIFIED
from tests.kernel.test_launcher_process import status, wait_for_child
from tests.support.launch import MOUNTS, Launch
from twinhull.errors import CommandNotFound, LaunchError
from twinhull.plan.ops import Op

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
CHOWN = 1
JOIN = Op("join")


@pytest.fixture
def main_pid(launch: Launch) -> Iterator[int]:
    """A container that sleeps, in a leaf and a network of its own."""
    leaf = f"{UNIFIED}/twinhull-test-{os.getpid()}"
    plan = [Op("cgroup2", (leaf,)), Op("netns"), *launch.root(mounts=MOUNTS), Op("hostname", ("joined",))]
    with launch.start(plan, "sleep", "1000") as process:
        yield wait_for_child(process.pid, "sleep")
        process.kill()
    assert launch.undo(Op("kill-cgroup", (leaf,)), Op("remove-cgroup", (leaf,))).exit_code == 0


def in_leaf() -> Op:
    return Op("cgroup2", (f"{UNIFIED}/twinhull-test-{os.getpid()}",))


def test_a_joined_process_is_in_every_namespace_and_cgroup_of_the_main_one(launch: Launch, main_pid: int) -> None:
    script = f"cd /proc/self/ns; for n in {' '.join(KINDS)}; do readlink $n; done; hostname; cat /proc/self/cgroup; pwd"
    out = launch([in_leaf(), JOIN], "sh", "-c", script, main_pid=main_pid).splitlines()
    assert out[: len(KINDS)] == [os.readlink(f"/proc/{main_pid}/ns/{kind}") for kind in KINDS]
    assert out[len(KINDS)] == "joined"
    assert "0::/" in out


def test_a_joined_process_has_a_pid_inside_and_is_reaped_by_the_launcher(launch: Launch, main_pid: int) -> None:
    with launch.start([in_leaf(), JOIN], "sh", "-c", "echo $$; cat; exit 7", main_pid=main_pid) as process:
        child = wait_for_child(process.pid, "sh")
        fields = status(Path(f"/proc/{child}/status").read_text())
        assert int(fields["PPid"]) == process.pid
        assert fields["NSpid"].split()[0] == str(child)
        stdout, _ = process.communicate("")
    assert stdout.split()[0] == fields["NSpid"].split()[-1]
    assert process.returncode == 7


def test_a_joined_process_has_the_identity_and_directory_of_its_own_plan(launch: Launch, main_pid: int) -> None:
    ops = [Op("directory-of-work", ("/bin",)), Op("user", (1000, 1000, b"")), Op("capabilities", (CHOWN, 0, 0, 0, 0))]
    out = launch([in_leaf(), JOIN, *ops], "sh", "-c", "pwd; cat /proc/self/status", main_pid=main_pid)
    assert out.startswith("/bin\n")
    assert (status(out)["Uid"].split()[0], int(status(out)["CapBnd"], 16)) == ("1000", CHOWN)


def test_a_joined_process_makes_no_directory_of_work(launch: Launch, main_pid: int) -> None:
    with pytest.raises(LaunchError, match="directory-of-work /srv: No such file"):
        launch([in_leaf(), JOIN, Op("directory-of-work", ("/srv",))], "true", main_pid=main_pid)


def test_a_joined_terminal_is_one_of_the_container_s(launch: Launch, main_pid: int) -> None:
    out = launch([in_leaf(), JOIN, Op("terminal", (10, 20))], "sh", "-c", "stty size; tty", main_pid=main_pid)
    assert out.split() == ["10", "20", "/dev/pts/0"]


def test_no_descriptor_of_the_host_is_seen_in_a_joined_process(launch: Launch, main_pid: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    plan = [in_leaf(), Op("open", (20, str(tmp_path / "secret"), os.O_RDONLY)), JOIN]
    assert launch(plan, "sh", "-c", "ls -v /proc/$$/fd; true", main_pid=main_pid).split() == ["0", "1", "2"]


def test_a_missing_program_is_127_in_a_joined_process_too(launch: Launch, main_pid: int) -> None:
    with pytest.raises(CommandNotFound):
        launch([in_leaf(), JOIN], "no-such", main_pid=main_pid)


def test_joining_a_process_that_is_gone_is_a_clear_error(launch: Launch) -> None:
    for pid in (2**22 - 1,):
        with pytest.raises(LaunchError) as caught:
            launch([JOIN], "true", main_pid=pid)
        assert (caught.value.op, caught.value.errno) == ("join", errno.ESRCH)


def test_a_paused_container_is_not_joined(launch: Launch, main_pid: int) -> None:
    freeze = Path(in_leaf().args[0], "cgroup.freeze")  # type: ignore[arg-type]  # the argument is a path
    freeze.write_text("1")
    with pytest.raises(LaunchError) as caught:
        launch([in_leaf(), JOIN], "true", main_pid=main_pid)
    assert (caught.value.op, caught.value.errno) == ("join", errno.EBUSY)
    freeze.write_text("0")


def test_a_joined_process_dies_with_the_container(launch: Launch, main_pid: int) -> None:
    with launch.start([in_leaf(), JOIN], "sleep", "1001", main_pid=main_pid) as process:
        wait_for_child(process.pid, "sleep")
        Path(f"{UNIFIED}/twinhull-test-{os.getpid()}/cgroup.kill").write_text("1")
        started = time.monotonic()
        assert process.wait(5) == 137
        assert time.monotonic() - started < 2
