"""checkpoint and restore as Podman and containerd ask for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.callers import NAME, Engine
from tests.support.criu import criu
from tests.support.oci import TWINHULL_OCI

LIMITS = ["--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512"]  # Podman's own may be above the machine's
COUNTS = "i=0; while :; do i=$((i+1)); echo $i >>/shared/n; sleep 0.05; done"


@pytest.fixture(scope="module", autouse=True)
def path() -> Iterator[None]:
    """The engines and their runtimes find CRIU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(criu()).parent}:{os.environ['PATH']}")
        yield


@pytest.fixture(scope="module")
def runtime() -> Path:
    """That of containers: there is no checkpoint of a virtual machine."""
    return TWINHULL_OCI


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A volume, and in it what the container counts."""
    return tmp_path


@pytest.fixture
def counted(shared: Path) -> Callable[[int], int]:
    """Waits until more has been counted, and returns how far."""

    def more(than: int) -> int:
        deadline = time.monotonic() + 20
        while len(found := numbers()) <= than:
            assert time.monotonic() < deadline, found[-3:]
            time.sleep(0.05)
        assert found == [str(number + 1) for number in range(len(found))]
        return len(found)

    def numbers() -> list[str]:
        return (shared / "n").read_text().split() if (shared / "n").exists() else []

    return more


def test_podman_moves_a_container_to_another_name(podman: Engine, shared: Path, counted: Callable[[int], int]) -> None:
    words = ("--detach", "--name", "one", "--network", "none", *LIMITS, "--volume", f"{shared}:/shared")
    assert podman("run", *words, NAME, "/bin/sh", "-c", COUNTS).returncode == 0
    try:
        counted(1)
        done = podman("container", "checkpoint", "--export", str(shared / "saved.tar"), "one")
        assert done.returncode == 0, done.stderr
        before = counted(0)
        done = podman("container", "restore", "one")
        assert done.returncode == 0, done.stderr
        counted(before)
        assert podman("exec", "one", "/bin/echo", "in").stdout == "in\n"
        assert podman("rm", "--force", "--time", "0", "one").returncode == 0
        (shared / "n").write_text("".join(f"{number + 1}\n" for number in range(before)))
        done = podman("container", "restore", "--import", str(shared / "saved.tar"), "--name", "two")
        assert done.returncode == 0, done.stderr
        counted(before)
    finally:
        podman("rm", "--force", "--all", "--time", "0")


def test_containerd_saves_a_task_and_starts_it_again(
    ctr: Engine, runtime: Path, shared: Path, counted: Callable[[int], int]
) -> None:
    mount = f"type=bind,src={shared},dst=/shared,options=rbind"
    words = ("run", "--runc-binary", str(runtime), "--detach", "--null-io", "--mount", mount, NAME)
    started = ctr(*words, "one", "/bin/sh", "-c", COUNTS)
    assert started.returncode == 0, started.stderr
    try:
        counted(1)
        done = ctr("container", "checkpoint", "--task", "--rw", "--image", "one", "saved")
        assert done.returncode == 0, done.stderr
        assert "RUNNING" in ctr("task", "ls").stdout
        ctr("task", "kill", "--signal", "KILL", "one")
        time.sleep(0.5)
        ctr("task", "rm", "one")
        ctr("container", "rm", "one")
        before = len((shared / "n").read_text().split())
        done = ctr("container", "restore", "--rw", "--live", "two", "saved")
        assert done.returncode == 0, done.stderr
        assert "RUNNING" in ctr("task", "ls").stdout
        deadline = time.monotonic() + 20
        while len((shared / "n").read_text().split()) <= before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for name in ("one", "two"):
            ctr("task", "kill", "--signal", "KILL", name)
        time.sleep(0.5)
        for name in ("one", "two"):
            ctr("task", "rm", name)
            ctr("container", "rm", name)
