"""twinhull-oci as the runtime of Podman without root: in a user namespace, the host's network, and no groups."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.callers import NAME, Done
from tests.support.oci import TWINHULL_OCI
from tests.support.rootless import Rootless

Engine = Callable[..., Done]


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

    def engine(*words: str) -> Done:
        argv = (*rootless.command[:-1], "podman", *places, *manners, *words)
        return subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, cwd="/"
        )

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
