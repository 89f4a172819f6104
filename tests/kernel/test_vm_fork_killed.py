"""A fork or snapshot that is killed while the original stands still: it goes on by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import wait_until
from twinhull.config import Config
from twinhull.runtime import fork as copies
from twinhull.runtime.guard import guarded

COUNTS = "dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null; sync; while :; do echo on; sleep 0.1; done"
WITHIN_S = 1.0
ENDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def original(vm: Twinhull) -> str:
    """A machine that says so every tenth of a second, with a disk that takes a while to copy; its id."""
    words = ("run", "-d", "--vm", "--network", "none", "--name", "box", "busybox", "sh", "-c", COUNTS)
    identity = vm(*words, timeout_s=120, check=True).stdout.strip()
    wait_until(lambda: said(vm, identity) > 2, "the first words")
    return identity


def said(vm: Twinhull, identity: str) -> int:
    """How much it has said, without a command that could heal anything."""
    log = vm.root / "state/instances" / identity / "log"
    return log.stat().st_size if log.exists() else 0


def goes_on(vm: Twinhull, identity: str) -> float:
    """After how long it says something again."""
    began, seen = time.monotonic(), said(vm, identity)
    wait_until(lambda: said(vm, identity) > seen, "the original to go on")
    return time.monotonic() - began


def guards() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit() and is_guard(Path("/proc", name))]


def is_guard(process: Path) -> bool:
    try:
        return (process / "cmdline").read_bytes().startswith(b"twinhull-guard\0") and bool(os.readlink(process / "exe"))
    except OSError:
        return False


def await_mark(mark: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a command has the machine stopped, or has ended."""
    deadline = time.monotonic() + 20
    while not mark.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("end", ENDS, ids=lambda number: number.name)
@pytest.mark.parametrize("words", [("fork", "box"), ("snapshot", "box", "tag")], ids=lambda words: words[0])
def test_the_original_goes_on_whatever_ends_the_command(
    vm: Twinhull, original: str, words: tuple[str, ...], end: signal.Signals
) -> None:
    mark = vm.root / "run/held" / original
    for delay in (0.0, 0.01, 0.03, 0.08):
        process = vm.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_mark(mark, process)
        time.sleep(delay)
        os.killpg(process.pid, end)
        process.wait()
        assert goes_on(vm, original) < WITHIN_S, f"{end.name} {delay} s after it was stopped"
        wait_until(lambda: not guards(), "the end of the guard")
        for name in vm.names():
            if name != "box":
                vm("rm", "-f", name, check=True)
        vm("snapshot", "rm", "box:tag")


def test_one_that_stands_still_when_its_command_is_killed_goes_on_by_itself(vm: Twinhull, original: str) -> None:
    config = Config(state=str(vm.root / "state"), run=str(vm.root / "run"))
    directory = config.instance(original)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with guarded(config.launcher, directory), copies.stopped(config, original, directory):
            os.write(writer, b"s")
            time.sleep(60)
    os.read(reader, 1)
    seen = said(vm, original)
    time.sleep(0.5)
    assert said(vm, original) == seen, "it stands still"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert goes_on(vm, original) < WITHIN_S
    wait_until(lambda: not guards(), "the end of the guard")
    os.close(reader)
    os.close(writer)
