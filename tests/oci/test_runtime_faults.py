"""kill -9 anywhere in create, start, run and delete: the state stays true, and a forced delete leaves nothing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.command import TEST_LAUNCHER
from tests.support.oci import RUNTIMES, TWINHULL_OCI, WITHOUT_FRONT, Container

INTERPRETER = RUNTIMES[WITHOUT_FRONT][0]
HOST_OPS = ("cgroup2", "cgroup1", "write")


def call(container: Container, verb: str, *words: str, fault: str = "") -> subprocess.Popen[bytes]:
    """Start a verb in the launcher of the tests."""
    argv = [str(TEST_LAUNCHER), f"oci {INTERPRETER}", str(TWINHULL_OCI), *container.argv(verb, *words)[1:]]
    environment = {**os.environ, "TWINHULL_LAUNCHER": str(TEST_LAUNCHER), "TWINHULL_FAULT": fault}
    null = subprocess.DEVNULL
    return subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, env=environment, start_new_session=True)


def status(container: Container) -> str:
    """The state, "" if there is no such container."""
    done = container.do("state", container.id, check=False)
    return container.state()["status"] if done.returncode == 0 else ""


def groups(container: Container) -> list[Path]:
    """What there is of its cgroups."""
    return leaks.groups_named(container.id)


def test_a_create_whose_launcher_is_killed_fails_and_leaves_nothing(ours: Container) -> None:
    ours.write()
    for op in HOST_OPS:
        assert call(ours, "create", "--bundle", str(ours.bundle), ours.id, fault=op).wait(timeout=60) == 1, op
        assert (status(ours), groups(ours)) == ("", []), op


@pytest.mark.parametrize("point", ["", "slow:cgroup1", "slow:root-bind", "slow:user", "slow:started"])
def test_after_a_create_that_was_killed_a_forced_delete_leaves_nothing(ours: Container, point: str) -> None:
    ours.write()
    for tenths in range(0, 6, 2):
        making = call(ours, "create", "--bundle", str(ours.bundle), ours.id, fault=point)
        deadline = time.monotonic() + 10
        while point and not groups(ours) and time.monotonic() < deadline and making.poll() is None:
            time.sleep(0.005)
        time.sleep(tenths / 10 if not point else tenths / 100)
        making.kill()
        making.wait()
        assert status(ours) in ("", "creating", "created", "stopped")  # its process is ended if nobody kept it
        ours.do("delete", "--force", ours.id)
        assert (status(ours), groups(ours)) == ("", []), (point, tenths)


def test_a_start_that_was_killed_has_started_the_process(ours: Container) -> None:
    ours.create()
    assert call(ours, "start", ours.id, fault="start-released").wait(timeout=60) == -9
    ours.await_status("running")
    assert ours.do("start", ours.id, check=False).returncode == 1
    assert ours.exec("/bin/sh", "-c", "exit 3", check=False).returncode == 3


@pytest.mark.parametrize("point", ["kill-cgroup", "remove-cgroup", "delete-undone", "delete-emptied"])
def test_a_delete_that_was_killed_is_finished_by_the_next(ours: Container, point: str) -> None:
    ours.begin()
    assert call(ours, "delete", "--force", ours.id, fault=point).wait(timeout=60) == -9
    assert status(ours) in ("", "stopped", "creating")
    ours.do("delete", "--force", ours.id)
    assert (status(ours), groups(ours)) == ("", [])
