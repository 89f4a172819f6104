"""A create that is killed while the container's own process is busy: delete --force removes the rest at once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time

import pytest

from tests.support.oci import Container

AT_ONCE_S = 5.0


def test_delete_force_does_not_wait_for_a_hook_of_a_killed_create(ours: Container) -> None:
    """Debian's runc and crun leave the hook and its parent."""
    begun = ours.scratch / "begun"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"touch {begun}; exec sleep 30"]}
    ours.spec["hooks"] = {"createContainer": [hook]}
    ours.write()
    words = ours.argv("create", "--bundle", str(ours.bundle), ours.id)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as creating:
        deadline = time.monotonic() + 20
        while not begun.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        creating.kill()
    began = time.monotonic()
    ours.do("delete", "--force", ours.id)
    assert time.monotonic() - began < AT_ONCE_S
    assert ours.do("state", ours.id, check=False).returncode == 1


def test_notify_is_no_default_action(container: Container) -> None:
    container.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_NOTIFY",
        "listenerPath": str(container.scratch / "listener"),
        "syscalls": [{"names": ["read", "exit"], "action": "SCMP_ACT_ALLOW"}],
    }
    assert container.create(check=False).returncode == 1
    if container.ours:
        assert container.errors()[0].startswith("linux.seccomp.defaultAction: ")


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_listener_is_told_before_a_call_that_it_must_answer(ours: Container, no_new_privileges: bool) -> None:
    """sendmsg is one that the launcher's child makes itself; nobody answers, and the create is killed."""
    path = ours.scratch / "listener"
    ours.spec["process"]["noNewPrivileges"] = no_new_privileges
    ours.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "syscalls": [{"names": ["sendmsg", "prctl"], "action": "SCMP_ACT_NOTIFY"}],
    }
    ours.write()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        words = ours.argv("create", "--bundle", str(ours.bundle), ours.id)
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as creating:
            connection, _ = listener.accept()
            with connection:
                message, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
            assert json.loads(message)["state"]["id"] == ours.id
            creating.kill()
        os.close(descriptors[0])
    began = time.monotonic()
    ours.do("delete", "--force", ours.id)
    assert time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL"])
def test_a_filter_need_not_allow_what_the_runtime_does(ours: Container, default: str) -> None:
    """With no_new_privs; what a static busybox needs is allowed."""
    needed = (
        "execve arch_prctl set_tid_address brk getuid getgid geteuid getegid exit_group write rt_sigaction mprotect"
    )
    ours.spec["linux"]["seccomp"] = {
        "defaultAction": default,
        "syscalls": [
            {
                "names": [
                    *needed.split(),
                    "uname",
                    "prlimit64",
                    "readlink",
                    "getrandom",
                    "set_robust_list",
                    "rseq",
                    "fstat",
                    "newfstatat",
                    "ioctl",
                    "prctl",
                ],
                "action": "SCMP_ACT_ALLOW",
            }
        ],
    }
    assert ours.args("/bin/echo", "hello").run().stdout == "hello\n"
