"""NOTIFY_SOCKET: who starts a container learns that it is ready, as runc has it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, socket

import pytest

from tests.support.oci import PATIENCE_S, Container

# A program that speaks the protocol, for busybox has none that sends datagrams to a path.
SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof(to.sun_path) - 1);
	for (int i = 1; i < argc; i++)
		if (sendto(fd, argv[i], strlen(argv[i]), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			return perror("sendto"), 1;
	return sleep(1000);
}
"""


@pytest.fixture
def notifier(container: Container, monkeypatch: pytest.MonkeyPatch) -> socket:
    """The service manager's socket, and a container that says that it is ready."""
    program = container.bundle / "rootfs/bin/notify"
    subprocess.run(["cc", "-static", "-x", "c", "-o", str(program), "-"], input=SOURCE, text=True, check=True)
    container.args("/bin/notify", "STATUS=soon", "STATUS=now\nREADY=1")
    manager = socket(AF_UNIX, SOCK_DGRAM)
    path = container.scratch / "manager"
    manager.bind(str(path))
    manager.settimeout(PATIENCE_S)
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    return manager


def said(manager: socket) -> set[bytes]:
    """What the manager is told until it knows the process; crun says nothing of that."""
    lines: set[bytes] = set()
    while not any(line.startswith(b"MAINPID=") for line in lines):
        lines |= set(manager.recv(4096).splitlines())
    return lines


def test_start_ends_when_the_container_is_ready(container: Container, notifier: socket) -> None:
    if container.runtime == "crun":
        pytest.skip("crun passes READY on alone")
    container.begin()
    pid = container.state()["pid"]
    with notifier:
        assert {b"READY=1", b"MAINPID=%d" % pid} <= said(notifier)


def test_run_tells_of_it_while_it_waits(container: Container, notifier: socket) -> None:
    if not container.ours:
        pytest.skip("runc and crun pass READY on alone then")
    container.write()
    words = container.argv("run", "--bundle", str(container.bundle), container.id)
    with notifier, subprocess.Popen(words, stdin=subprocess.DEVNULL) as running:
        assert b"READY=1" in said(notifier)
        container.do("kill", container.id, "KILL")
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
