"""twinhull-oci as the runtime of Podman without root: in a user namespace, the host's network, and no groups."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.callers import NAME, Done
from tests.support.oci import TWINHULL_OCI
from tests.support.rootless import Rootless


class Engine:
    """Podman's command line as a user runs it."""

    def __init__(self, argv: tuple[str, ...], environment: dict[str, str]) -> None:
        self.argv, self.environment = argv, environment

    def __call__(self, *words: str) -> Done:
        """Run a command to its end."""
        return subprocess.run(
            [*self.argv, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )

    def on_a_terminal(self, *words: str, typed: bytes) -> tuple[int, bytes]:
        """Run a command on a terminal; return its status and what was shown."""
        master, slave = os.openpty()
        argv, variables = [*self.argv, *words], self.environment
        with subprocess.Popen(
            argv, env=variables, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd="/"
        ) as it:
            os.close(slave)
            os.write(master, typed)
            shown = b""
            try:
                while part := os.read(master, 4096):
                    shown += part
            except OSError:
                pass  # EIO: nobody has the other end any more
            os.close(master)
            return it.wait(timeout=60), shown


@pytest.fixture
def podman(rootless: Rootless, archive: Path) -> Iterator[Engine]:
    """Podman as the user runs it, with a store of its own."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    image, run = rootless.home / "image.tar", Path(tempfile.mkdtemp(dir="/tmp"))  # Podman takes 50 characters at most
    shutil.copy(archive, image)
    rootless.give(image, run)
    environment = {**rootless.environment(), "XDG_RUNTIME_DIR": str(run)}
    places = ("--root", f"{rootless.home}/store", "--runroot", f"{run}/store", "--tmpdir", f"{run}/tmp")
    manners = ("--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", str(TWINHULL_OCI))

    engine = Engine((*rootless.command[:-1], "podman", *places, *manners), environment)
    loaded = engine("load", "--input", str(image))
    assert loaded.returncode == 0, loaded.stderr
    yield engine
    engine("rm", "--all", "--force", "--time", "0")
    engine("system", "migrate")  # ends the process that keeps its namespaces
    shutil.rmtree(run)


@pytest.mark.parametrize("network", ["none", "host", "slirp4netns"])
def test_a_container_runs_and_its_status_is_told(podman: Engine, rootless: Rootless, network: str) -> None:
    done = podman("run", "--rm", "--network", network, NAME, "/bin/sh", "-c", "cat /proc/self/uid_map; exit 7")
    assert done.returncode == 7, done.stderr
    assert done.stdout.split()[:2] == ["0", str(rootless.account.pw_uid)]


def test_it_is_entered_and_ended(podman: Engine) -> None:
    started = podman("run", "--detach", "--name", "long", "--network", "none", NAME, "/bin/sleep", "1000")
    assert started.returncode == 0, started.stderr
    done = podman("exec", "long", "/bin/sh", "-c", "echo in; exit 6")
    assert (done.returncode, done.stdout) == (6, "in\n"), done.stderr
    assert podman("exec", "long", "nonesuch").returncode == 127
    assert "long" in podman("ps").stdout
    assert podman("stop", "--time", "0", "long").returncode == 0
    assert podman("rm", "long").returncode == 0


def test_the_user_may_be_himself_inside(podman: Engine, rootless: Rootless) -> None:
    done = podman("run", "--rm", "--network", "none", "--userns", "keep-id", NAME, "/bin/sh", "-c", "id -u")
    assert done.stdout.strip() == str(rootless.account.pw_uid), done.stderr


@pytest.mark.parametrize("userns", ["keep-id", "auto:size=1000"])
def test_a_container_joins_the_user_namespace_of_another(podman: Engine, userns: str) -> None:
    started = podman(
        "run", "--detach", "--name", "ua", "--network", "none", "--userns", userns, NAME, "/bin/sleep", "1000"
    )
    assert started.returncode == 0, started.stderr
    joining = ("--network", "none", "--userns", "container:ua", NAME)
    done = podman("run", "--rm", *joining, "/bin/cat", "/proc/self/uid_map")
    assert done.returncode == 0, done.stderr
    assert done.stdout == podman("exec", "ua", "/bin/cat", "/proc/self/uid_map").stdout


def test_run_and_exec_have_a_terminal(podman: Engine) -> None:
    words = ("run", "--rm", "-it", "--network", "none", NAME, "/bin/sh", "-c", "read line; echo got $line; tty; exit 4")
    status, shown = podman.on_a_terminal(*words, typed=b"hello\n")
    assert (status, b"got hello" in shown, b"/dev/" in shown) == (4, True, True), shown
    assert podman("run", "-d", "--name", "long", "--network", "none", NAME, "/bin/sleep", "1000").returncode == 0
    status, shown = podman.on_a_terminal(
        "exec", "-it", "long", "/bin/sh", "-c", "read a; echo got $a; tty; exit 5", typed=b"x\n"
    )
    assert (status, b"got x" in shown, b"/dev/" in shown) == (5, True, True), shown


def test_two_run_at_a_time_and_each_is_killed_alone(podman: Engine) -> None:
    for name in ("one", "two"):
        done = podman("run", "-d", "--name", name, "--network", "none", NAME, "/bin/sleep", "1000")
        assert done.returncode == 0, done.stderr
    assert podman("kill", "--signal", "KILL", "one").returncode == 0
    assert podman("wait", "one").stdout.strip() == "137"
    assert podman("exec", "two", "/bin/echo", "there").stdout == "there\n"
    assert podman("logs", "two").returncode == 0
    assert podman("rm", "--force", "--time", "0", "one", "two").returncode == 0
