"""Figures of the comparison beside those of public tools that are run by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import privileges
from tests.support.command import Twinhull
from twinhull.compare import load, statistics, tools
from twinhull.host import memory

AGREE = 0.1
ROUNDS = 5
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    if privileges.missing():
        pytest.skip("needs what the kernel tests need")
    found = Twinhull(tmp_path_factory.mktemp("tools"))
    # The guest's template, and what keeps its memory, are there before anyone looks for leaks.
    found("run", "--rm", "--vm", "--network", "none", "busybox", "true", check=True, timeout_s=120)
    yield found
    found.remove_all()


def smem() -> dict[int, int]:
    """Bytes of proportional memory of each process, by smem."""
    lines = subprocess.run(["smem", "-H", "-c", "pid pss"], capture_output=True, text=True, check=True).stdout
    return {int(pid): int(size) * 1024 for pid, size in (line.split() for line in lines.splitlines())}


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_the_memory_of_an_instance_is_what_smem_says(command: Twinhull, isolation: str) -> None:
    words = ("run", "-d", "--network", "none", "--isolation", isolation, "--name", f"weighed-{isolation}")
    command(*words, "busybox", "sleep", "60", check=True, timeout_s=120)
    try:
        directory = command("inspect", f"weighed-{isolation}", check=True).json()[0]["directory"]
        pids = memory.tree(memory.holder(f"{directory}/alive"))
        ours = sum(cost.pss_bytes for cost in memory.costs(pids))
        theirs = sum(size for pid, size in smem().items() if pid in pids)
        assert theirs > 0
        assert abs(ours - theirs) <= AGREE * theirs, f"{ours} here, {theirs} by smem"
    finally:
        command("rm", "-f", f"weighed-{isolation}")


def test_the_processors_speed_is_what_sysbench_prints_by_hand(command: Twinhull, tmp_path: Path) -> None:
    root = tools.obtain(str(command.root / "state"))
    cpu = next(one for one in load.LOADS if one.name == "cpu")
    place = load.Place("plain", (), root, str(tmp_path))
    by_hand = f"{root}/lib/loader --library-path {root}/lib {root}/bin/sysbench cpu --cpu-max-prime=5000 --time=1 run"
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(load.run(cpu, place, ""))
        text = subprocess.run(by_hand, shell=True, capture_output=True, text=True, check=True).stdout
        theirs.append(float(text.partition("events per second:")[2].split()[0]))
    ratio = statistics.compare(ours, theirs)
    assert ratio is not None
    assert ratio.low - AGREE <= 1 <= ratio.high + AGREE, f"{ours} here, {theirs} by hand"
