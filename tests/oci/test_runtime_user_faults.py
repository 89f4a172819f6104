"""kill -9 anywhere in what a user without root starts: a forced delete leaves nothing, not even a process."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import TEST_LAUNCHER
from tests.support.oci import RUNTIMES, TWINHULL_OCI, WITHOUT_FRONT
from tests.support.oci_user import UserContainer
from tests.support.shim import wait_until

INTERPRETER = RUNTIMES[WITHOUT_FRONT][0]


def call(container: UserContainer, verb: str, *words: str, fault: str = "") -> subprocess.Popen[bytes]:
    """Start a verb in the launcher of the tests."""
    variables = [f"TWINHULL_LAUNCHER={TEST_LAUNCHER}", f"TWINHULL_FAULT={fault}"]
    variables.append(f"XDG_RUNTIME_DIR={container.runtime_directory}")
    argv = ["env", *variables, str(TEST_LAUNCHER), f"oci {INTERPRETER}", str(TWINHULL_OCI), verb, *words]
    null = subprocess.DEVNULL
    return subprocess.Popen([*container.before, *argv], stdin=null, stdout=null, stderr=null, start_new_session=True)


def processes(container: UserContainer) -> list[str]:
    """What runs of the container, by its user."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if entry.stat().st_uid == container.user.account.pw_uid:
                    (entry / "exe").readlink()
                    found.append((entry / "cmdline").read_text())
            except OSError:
                continue
    return found


def status(container: UserContainer) -> str:
    """The state, "" if there is no such container."""
    done = container.do("state", container.id, check=False)
    return str(container.state()["status"]) if done.returncode == 0 else ""


@pytest.mark.parametrize("op", ["own-users", "root-bind", "filesystem", "enter-root", "user"])
def test_a_create_whose_launcher_is_killed_fails_and_leaves_nothing(mine: UserContainer, op: str) -> None:
    mine.write()
    assert call(mine, "create", "--bundle", str(mine.bundle), mine.id, fault=op).wait(timeout=60) == 1
    assert mine.kept() == []
    assert wait_until(lambda: not processes(mine))


@pytest.mark.parametrize(
    "point", ["", "slow:own-users", "slow:inner-made", "slow:root-bind", "slow:user", "slow:started"]
)
def test_after_a_create_that_was_killed_a_forced_delete_leaves_nothing(mine: UserContainer, point: str) -> None:
    mine.write()
    for hundredths in range(0, 24, 4):
        making = call(mine, "create", "--bundle", str(mine.bundle), mine.id, fault=point)
        time.sleep(hundredths / 100)
        making.kill()
        making.wait()
        assert status(mine) in ("", "creating", "created", "stopped")  # its process is ended if nobody kept it
        mine.do("delete", "--force", mine.id)
        assert mine.kept() == []
        assert wait_until(lambda: not processes(mine))


def test_a_run_whose_process_is_killed_ends_and_is_deleted(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").write()
    running = call(mine, "run", "--bundle", str(mine.bundle), mine.id)
    assert wait_until(lambda: status(mine) == "running")
    mine.do("kill", mine.id, "KILL")
    assert running.wait(timeout=20) == 137
    assert mine.kept() == []


@pytest.mark.parametrize("point", ["delete-undone", "delete-emptied"])
def test_a_delete_that_was_killed_is_finished_by_the_next(mine: UserContainer, point: str) -> None:
    mine.args("/bin/sleep", "1000").begin()
    assert call(mine, "delete", "--force", mine.id, fault=point).wait(timeout=60) == -9
    mine.do("delete", "--force", mine.id)
    assert mine.kept() == []
    assert wait_until(lambda: not processes(mine))
