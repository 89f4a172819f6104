"""A seccomp listener gets its descriptor before the container's process needs an answer."""

from __future__ import annotations

import json
import socket

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
        connection, _ = listener.accept()
        with connection:
            message, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    with open(descriptors[0], "rb"):
        said = json.loads(message)
    assert said["fds"] == ["seccompFd"] and said["metadata"] == "mine"
    assert said["pid"] == ours.state()["pid"] and said["state"]["id"] == ours.id
