"""Each known way out that can harmlessly be opened here is seen open and closed by the program that tries it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import privileges
from twinhull.compare import escapes
from twinhull.compare.findings import parse_probe

PROGRAM = Path(__file__).parents[2] / "src/twinhull/bin/escapes"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")
# Nothing listens on port 1: the ways that lead to strangers are left out by naming a process of ours.
AIM = ("127.0.0.1", "1", str(os.getpid()))
FILES = (
    *("dev/mem", "proc/kcore", "proc/sys/kernel/core_pattern", "proc/sysrq-trigger", "sys/kernel/uevent_helper"),
    *("proc/sys/fs/binfmt_misc/register", "sys/firmware/table", "sys/fs/cgroup/memory/release_agent"),
)
THROUGH_FILES = {
    *("kernel-memory", "kernel-core", "core-pattern", "sysrq", "uevent-helper", "binfmt-misc", "firmware"),
    *("release-agent", "host-root", "foreign-memory", "runtime-program", "host-processes", "engine-socket"),
}
# What a user without privileges is refused, and root is not.
THROUGH_PRIVILEGES = ("mount", "mount-context", "open-by-handle", "reboot", "clock", "raw-packets", "core-pattern")


@pytest.fixture(autouse=True)
def able() -> None:
    if privileges.missing():
        pytest.skip("needs root")
    assert PROGRAM.exists(), "make launcher"


def results(*before: str, aim: tuple[str, ...] = AIM, program: str = str(PROGRAM), **options: object) -> dict[str, str]:
    done = subprocess.run([*before, program, *aim], capture_output=True, text=True, check=True, timeout=60, **options)  # type: ignore[call-overload]  # options of run
    facts = parse_probe(done.stdout)
    return {one.name: escapes.outcome(facts, one.name)["result"] for one in escapes.PROBES}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with nothing but the program and an empty /dev."""
    (tmp_path / "dev").mkdir()
    shutil.copy(PROGRAM, tmp_path / "escapes")
    return tmp_path


def furnish(tree: Path, stack: ExitStack) -> None:
    """Put harmless files, a process and a socket where the host's would be."""
    for name in FILES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("\177ELF")
    process = tree / "proc/7"
    (process / "root").mkdir(parents=True)
    (tree / "proc/self").mkdir()
    (process / "comm").write_text("kthreadd\n")
    for name in ("mem", "exe"):
        (process / name).write_text("x")
    (tree / "proc/self/exe").write_text("y")
    (tree / "run").mkdir()
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(tree / "run/docker.sock"))
    listener.listen()


def test_the_ways_through_files_are_open_where_the_files_are_and_absent_where_not(tree: Path) -> None:
    enter = ("chroot", str(tree))
    closed = results(*enter, aim=(), program="/escapes")
    with ExitStack() as stack:
        furnish(tree, stack)
        opened = results(*enter, aim=(), program="/escapes")

    assert {name: closed[name] for name in THROUGH_FILES} == dict.fromkeys(THROUGH_FILES, "absent")
    assert {name: opened[name] for name in THROUGH_FILES} == dict.fromkeys(THROUGH_FILES, "works")


def test_a_changed_root_can_be_climbed_out_of_and_the_first_cannot(tree: Path) -> None:
    assert results("chroot", str(tree), program="/escapes")["chroot"] == "works"
    assert results()["chroot"] == "refused"


@pytest.mark.parametrize("name", THROUGH_PRIVILEGES)
def test_a_way_through_privileges_is_open_to_root_and_refused_to_nobody(name: str, tmp_path: Path) -> None:
    program = shutil.copy(PROGRAM, "/tmp/twinhull-escapes")
    try:
        assert results()[name] == "works"
        assert results(*NOBODY, program=str(program))[name] == "refused"
    finally:
        os.unlink(program)


def test_a_directory_left_open_is_seen(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert results(pass_fds=(fd,))["leaked-descriptor"] == "works"
        assert results()["leaked-descriptor"] == "absent"
    finally:
        os.close(fd)


def test_an_abstract_socket_is_seen_in_its_own_network_namespace_only() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0twinhull-escapes")
        assert results()["abstract-socket"] == "works"
        assert results("unshare", "--net")["abstract-socket"] == "absent"


def test_processes_of_the_host_are_seen_in_the_first_pid_namespace_only() -> None:
    assert results("unshare", "--pid", "--fork", "--mount-proc", aim=("127.0.0.1", "1"))["host-processes"] == "absent"


def test_a_service_is_reached_while_somebody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        aim = ("127.0.0.1", str(listener.getsockname()[1]), str(os.getpid()))
        assert results(aim=aim)["host-service"] == "works"
    assert results(aim=aim)["host-service"] == "absent"


def test_user_namespaces_are_refused_in_a_changed_root(tree: Path) -> None:
    assert results("chroot", str(tree), program="/escapes")["user-namespace"] == "refused"
    assert results()["user-namespace"] == "works"


def test_trying_everything_changes_nothing() -> None:
    watched = ("/proc/sys/kernel/core_pattern", "/proc/self/mountinfo", "/proc/sys/kernel/hostname")
    before = [Path(path).read_text() for path in watched], sorted(os.listdir("/dev"))
    results()
    assert ([Path(path).read_text() for path in watched], sorted(os.listdir("/dev"))) == before
