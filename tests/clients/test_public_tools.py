"""The figures of compare, obtained once more with public tools on the same machine."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Twinhull
from twinhull import config
from twinhull.compare import statistics, subjects
from twinhull.compare.run import Service
from twinhull.compare.subject import CommandLine
from twinhull.host import memory

TOLERANCE = 0.10
RUNS, BLOCKS = 10, 3
INSTANCES = 5


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    command = Twinhull(tmp_path_factory.mktemp("tools"))
    for side in ("container", "vm"):  # bridge and template are there before anyone looks for leaks
        command("run", "--rm", "--isolation", side, "busybox", "true", timeout_s=300, check=True)
    yield command
    command.remove_all()


@pytest.fixture
def own(command: Twinhull, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, CommandLine]:
    """Our subjects, on the state of the command."""
    monkeypatch.setenv("TWINHULL_ROOT", str(command.root))
    monkeypatch.setenv("TWINHULL_CONFIG", str(command.config))
    return {subject.name: subject for subject in subjects.our_own(config.load(), str(tmp_path))}


@pytest.mark.parametrize("name", ["container", "vm"])
def test_hyperfine_finds_the_same_time_of_a_start(own: dict[str, CommandLine], name: str, tmp_path: Path) -> None:
    """In turns, block by block, so that a machine that changes meanwhile changes for both."""
    if not shutil.which("hyperfine"):
        pytest.skip("hyperfine is not installed")
    subject = own[name]
    timed(subject, 3)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(BLOCKS):
        for who in random.sample(("ours", "theirs"), 2):
            if who == "ours":
                ours += timed(subject, RUNS)
            else:
                theirs += hyperfine(subject, tmp_path / "times.json")

    agree(ours, theirs)


def timed(subject: CommandLine, count: int) -> list[float]:
    """Seconds to the end of so many starts, as compare takes them."""
    found = [subject.run("busybox", ("echo", "hi"), Service(), timeout_s=30).total_s for _ in range(count)]
    assert None not in found
    return [total for total in found if total is not None]


def hyperfine(subject: CommandLine, path: Path) -> list[float]:
    """The same command's seconds by hyperfine; it starts one after the other, so no name is needed."""
    words = [str(COMMAND), "run", "--rm", *subject.flags, "busybox", "echo", "hi"]
    options = ["--shell=none", f"--runs={RUNS}", "--warmup=1", f"--export-json={path}", "--style=none"]
    environment = {**os.environ, **subject.settings}
    subprocess.run(["hyperfine", *options, " ".join(words)], check=True, capture_output=True, env=environment)
    return [float(value) for value in json.loads(path.read_text())["results"][0]["times"]]


@pytest.mark.parametrize("name", ["container", "vm"])
def test_smem_finds_the_same_memory_of_one_more_instance(own: dict[str, CommandLine], name: str) -> None:
    """What only its processes map, beside others of its kind, by our own reading and by smem's USS."""
    if not shutil.which("smem"):
        pytest.skip("smem is not installed")
    subject, trees = own[name], []
    names: list[str] = []
    try:
        for _ in range(INSTANCES):
            idle = subject.start("busybox", ("sleep", "120"))
            names.append(idle.name)
            trees.append(memory.tree(idle.supervisor))
        ours = [float(memory.own_bytes(pids)) for pids in trees]
        theirs = [smem(set(pids)) for pids in trees]
    finally:
        subject.stop(names)

    agree(ours, theirs)


def smem(pids: set[int]) -> float:
    """USS of these processes in bytes, by smem."""
    done = subprocess.run(["smem", "-H", "-c", "pid uss"], check=True, capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return sum(int(uss) * 1024.0 for pid, uss in rows if int(pid) in pids)


def agree(ours: list[float], theirs: list[float]) -> None:
    """The medians are within 10 %, or their intervals overlap, whichever allows more."""
    one, other = statistics.summarise(ours), statistics.summarise(theirs)
    apart = abs(one.median / other.median - 1)
    overlap = one.low <= other.high and other.low <= one.high
    assert overlap or apart <= TOLERANCE, f"{apart:.1%} apart: {one} against {other}"
