"""What a comparison or a proof that was killed has left is taken away by the next of either."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import leaks, privileges
from tests.support.command import Twinhull

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PATIENCE_S = 120.0


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twinhull]:
    """With a directory for temporary ones of its own."""
    if privileges.missing():
        pytest.skip("needs what the kernel tests need")
    for name in ("scratch", "root"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    command = Twinhull(tmp_path / "root")
    yield command
    command.remove_all()


def kill_when(command: Twinhull, words: tuple[str, ...], ready: Callable[[], bool]) -> None:
    """Start a command and kill it with its children as soon as something is so."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with command.popen(*words, **quiet) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            assert process.poll() is None, "it ended too early"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    time.sleep(2)  # the command that it had just started comes to its end
    leaks.reap()
    leaks.claim(command.root)


def scratch() -> list[str]:
    return os.listdir(os.environ["TMPDIR"])


def images(command: Twinhull) -> str:
    return command("images", check=True).stdout


def test_the_images_of_a_killed_comparison_are_removed(command: Twinhull) -> None:
    words = ("compare", "--subjects", "container", "busybox")
    kill_when(command, words, lambda: "compare-" in command("ps", check=True).stdout)
    assert "twinhull/probe" in images(command)

    command("prove", "os", check=False, timeout_s=200)
    assert "twinhull/probe" not in images(command)
    assert command.names() == []


def test_workloads_and_directories_of_a_killed_proof_are_removed(command: Twinhull) -> None:
    kill_when(command, ("prove", "isolation"), lambda: "prove-" in "".join(command.names()))
    left = command.names()
    assert left
    assert [name for name in scratch() if "prove" in name]
    command("run", "-d", "--name", "prove-mine-1", "busybox", "sleep", "60", check=True)

    command("compare", "--subjects", "container", "busybox", timeout_s=200, check=True)
    assert command.names() == ["prove-mine-1"]
    assert scratch() == []
    assert not list((command.root / "state").glob("*.names"))


def test_what_runs_is_left_alone(command: Twinhull) -> None:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with command.popen("prove", "isolation", **quiet) as first:
        deadline = time.monotonic() + PATIENCE_S
        while not command.names() and time.monotonic() < deadline:
            time.sleep(0.1)
        before = command.names()
        words = ("compare", "--subjects", "container", "--format", "json", "busybox")
        document = command(*words, timeout_s=200, check=True).json()
        first.wait(PATIENCE_S)
    assert before
    assert [said for said in document["limits"] if f"process {first.pid}" in said]
    assert first.returncode == 0
    assert scratch() == []
