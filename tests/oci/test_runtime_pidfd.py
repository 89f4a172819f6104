"""--pidfd-socket, as runc has it since 1.2: Debian's runtimes are older, so twinhull-oci alone."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.oci import PATIENCE_S, Container


@pytest.fixture
def listener(ours: Container) -> Iterator[socket.socket]:
    """Whom the option names."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(ours.scratch / "pidfd"))
        made.listen()
        yield made


def kill_by_pidfd(listener: socket.socket) -> None:
    """Take the descriptor that was sent, end its process by it, and wait for that."""
    connection, _ = listener.accept()
    with connection:
        name, (pidfd,), _, _ = socket.recv_fds(connection, 64, 1)
    assert name
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], PATIENCE_S)[0]
    os.close(pidfd)


@pytest.mark.parametrize("verb", [["create"], ["run", "--detach"]], ids=["create", "run"])
def test_the_first_process_can_be_ended_by_what_is_sent(
    ours: Container, listener: socket.socket, verb: list[str]
) -> None:
    ours.write()
    ours.do(*verb, "--bundle", str(ours.bundle), "--pidfd-socket", str(ours.scratch / "pidfd"), ours.id)
    kill_by_pidfd(listener)
    ours.await_status("stopped")


def test_so_can_the_process_of_an_exec_alone(ours: Container, listener: socket.socket) -> None:
    ours.begin()
    ours.do("exec", "--detach", "--pidfd-socket", str(ours.scratch / "pidfd"), ours.id, "/bin/sleep", "1000")
    kill_by_pidfd(listener)
    assert ours.state()["status"] == "running"
