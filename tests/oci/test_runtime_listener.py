"""A seccomp listener gets its descriptor before the container's process needs an answer."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from tests.support.oci import Container


def test_a_seccomp_listener_gets_its_descriptor_with_the_state(ours: Container) -> None:
    path = ours.scratch / "listener"
    ours.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "listenerMetadata": "mine",
        "syscalls": [{"names": ["mknod", "mknodat"], "action": "SCMP_ACT_NOTIFY"}],
    }
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        ours.create()
        said = told(listener)
        ours.exec("/bin/true")
        of_exec = told(listener)
    assert said["fds"] == ["seccompFd"] and said["metadata"] == "mine"
    assert said["pid"] == said["state"]["pid"] == ours.state()["pid"] and said["state"]["id"] == ours.id
    assert of_exec["state"]["pid"] == said["pid"] != of_exec["pid"], "the state is the container's"


def told(listener: socket.socket) -> Any:
    """What the next process has sent; the descriptor is closed."""
    connection, _ = listener.accept()
    with connection:
        message, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    os.close(descriptors[0])
    return json.loads(message)


def notifies(container: Container, call: str) -> list[str]:
    """The errors of a container whose listener, which is not there, is told of a call."""
    container.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(container.scratch / "nobody"),
        "syscalls": [{"names": [call], "action": "SCMP_ACT_NOTIFY"}],
    }
    assert container.create(check=False).returncode != 0
    return container.errors()


def test_nobody_can_be_asked_about_write(ours: Container) -> None:
    """Who makes the container writes, too."""
    refused = "linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY cannot be used for the write syscall"
    assert notifies(ours, "write") == [refused]


def test_a_listener_that_is_not_there_is_named(ours: Container) -> None:
    (error,) = notifies(ours, "mknod")
    assert error.startswith("linux.seccomp.listenerPath: ") and "nobody" in error
