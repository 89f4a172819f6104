"""NOTIFY_SOCKET: who starts a container learns that it is ready, and which process it is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, socket

import pytest

from tests.support.notify import compile_notifier
from tests.support.oci import PATIENCE_S, Container


@pytest.fixture
def notifier(ours: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket]:
    """The service manager's socket, and a container that says that it is ready."""
    compile_notifier(ours.bundle / "rootfs/bin/notify")
    ours.args("/bin/notify", "STATUS=soon", "STATUS=now\nREADY=1")
    with socket(AF_UNIX, SOCK_DGRAM) as manager:
        manager.bind(str(ours.scratch / "manager"))
        manager.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(ours.scratch / "manager"))
        yield manager


def said(manager: socket) -> set[bytes]:
    """What the manager is told until it knows the process."""
    lines: set[bytes] = set()
    while not any(line.startswith(b"MAINPID=") for line in lines):
        lines |= set(manager.recv(4096).splitlines())
    return lines


def test_start_ends_when_the_container_is_ready(ours: Container, notifier: socket) -> None:
    ours.begin()
    pid = ours.state()["pid"]
    assert {b"READY=1", b"MAINPID=%d" % pid} <= said(notifier)


def test_run_tells_of_it_while_it_waits(ours: Container, notifier: socket) -> None:
    ours.write()
    words = ours.argv("run", "--bundle", str(ours.bundle), ours.id)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as running:
        assert b"READY=1" in said(notifier)
        ours.do("kill", ours.id, "KILL")
        assert running.wait(PATIENCE_S) == 137


def test_a_container_that_ends_before_it_is_ready_lets_start_end(
    ours: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/none")
    ours.sh("exit 3").begin()
    ours.await_status("stopped")


def test_without_the_variable_there_is_no_socket(ours: Container) -> None:
    assert ours.output("echo $NOTIFY_SOCKET; ls -d /run/notify 2>/dev/null || true") == "\n"
    assert not Path("/run/notify").exists()
