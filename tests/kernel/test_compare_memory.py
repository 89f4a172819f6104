"""The memory of one more instance, against what all processes of the host grow by: beside others, and without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import privileges
from tests.support.command import Twinhull
from twinhull.compare import statistics
from twinhull.host import memory
from twinhull.runtime.container import launcher_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SIDES = ("container", "vm")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    """One state directory for all: the guest's kernel and the template are made once.

    Its launcher is a file of its own: of the one that all tests share, others map more and less meanwhile.
    """
    if privileges.missing():
        pytest.skip("needs what the kernel tests need")
    root = tmp_path_factory.mktemp("weighed")
    launcher = shutil.copy(launcher_path(""), root / "launcher")
    command = Twinhull(root, settings={"launcher": str(launcher)})
    command("run", "--rm", "busybox", "true", check=True)  # the bridge is there before anyone looks for leaks
    command("run", "--rm", "--vm", "busybox", "true", check=True, timeout_s=300)
    yield command
    command.remove_all()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    """Six containers of another engine."""
    others = Twinhull(tmp_path_factory.mktemp("others"))
    try:
        for number in range(6):
            others("run", "-d", "--name", f"other-{number}", "busybox", "sleep", "300", check=True)
        yield others
    finally:
        others.remove_all()


def agrees(measured: float, independent: list[int]) -> bool:
    """Within what was found otherwise, or 10 % of its median, whichever is more."""
    middle = statistics.median(independent)
    return min(*independent, 0.9 * middle) <= measured <= max(*independent, 1.1 * middle)


@pytest.mark.parametrize("side", SIDES)
def test_one_more_is_what_all_processes_of_the_host_grow_by(command: Twinhull, side: str) -> None:
    grown, own = one_more(command, side)
    assert agrees(statistics.median(own), grown), (grown, own)


@pytest.mark.parametrize("side", SIDES)
def test_containers_of_others_do_not_change_that(command: Twinhull, others: Twinhull, side: str) -> None:
    grown, own = one_more(command, side)
    assert agrees(statistics.median(own), grown), (grown, own)


@pytest.fixture(scope="module")
def result(command: Twinhull, others: Twinhull) -> dict[str, Any]:
    """The document of a comparison beside the others."""
    done = command("compare", "--subjects", "container,vm", "--format", "json", timeout_s=300, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_comparison_beside_others_finds_the_same(command: Twinhull, result: dict[str, Any]) -> None:
    for side in SIDES:
        grown, _ = one_more(command, side)
        measured = statistics.median(result["samples"][f"{side}.memory_bytes"])
        assert agrees(measured, grown), (side, grown)
    points = [total for _, total in result["density"]["container"]["points"]]
    assert points[0] >= result["samples"]["container.memory_bytes"][0], "the first is not lost"
    assert points == sorted(points)


def test_the_processor_time_of_an_idle_guest_is_that_of_one_that_has_settled(
    command: Twinhull, result: dict[str, Any]
) -> None:
    """By schedstat alone, from 14 to 20 seconds after the last of four was started."""
    names = [f"settled-{number}" for number in range(4)]
    try:
        for name in names:
            command("run", "-d", "--vm", "--memory", "192m", "--name", name, "busybox", "sleep", "120", check=True)
        time.sleep(14)
        trees = [processes_below(supervisor(command, name)) for name in names]
        before = [on_processor_s(tree) for tree in trees]
        time.sleep(6)
        settled = [100 * (on_processor_s(tree) - early) / 6 for tree, early in zip(trees, before, strict=True)]
    finally:
        command("rm", "-f", *names)
    measured = statistics.median(result["samples"]["vm.idle_percent"])
    assert measured <= 2 * statistics.median(settled), (result["samples"]["vm.idle_percent"], settled)
    assert "vm.idle_settled" not in result["gaps"]


def on_processor_s(tree: list[str]) -> float:
    """What the threads of these processes have had (schedstat, in nanoseconds)."""
    files = [file for pid in tree for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def one_more(command: Twinhull, side: str) -> tuple[list[int], list[int]]:
    """Of the second to the fifth instance: what all processes grew by, and what we call its own at the end."""
    names, trees, grown = [f"grown-{number}" for number in range(5)], [], []
    try:
        for name in names:
            before = mappings()
            words = ("run", "-d", "--isolation", side, "--memory", "192m", "--name", name, "busybox", "sleep", "120")
            command(*words, check=True)
            time.sleep(1)
            trees.append(processes_below(supervisor(command, name)))
            grown.append(growth(before, mappings(), trees[-1]))
        own = [memory.own_bytes(map(int, tree)) for tree in trees]
    finally:
        command("rm", "-f", *names)
    return grown[1:], own[1:]


def growth(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], tree: list[str]) -> int:
    """What the newcomer's files take in all processes more than before, and what it has without a file."""
    files = {file for pid in tree for file in after[pid] if file}
    mapped = [sum(of.get(file, 0) for of in found.values() for file in files) for found in (before, after)]
    return mapped[1] - mapped[0] + sum(after[pid].get("", 0) for pid in tree)


def mappings() -> dict[str, dict[str, int]]:
    """Process -> file -> the Pss of its mappings in bytes (proc(5)); what no file is behind has the name "".

    A file is its inode and last name: each overlay has a device number of its own.
    """
    found: dict[str, dict[str, int]] = {}
    for path in Path("/proc").glob("[0-9]*/smaps"):
        file, sizes = "", found.setdefault(path.parent.name, {})
        try:
            lines = path.read_text().splitlines()
        except OSError:  # it has ended, or is nobody's to read
            continue
        for line in lines:
            words = line.split()
            if "-" in words[0]:
                file = " ".join(words[4:]).replace(words[5], os.path.basename(words[5])) if words[4] != "0" else ""
            elif words[0] == "Pss:":
                sizes[file] = sizes.get(file, 0) + int(words[1]) * 1024
    return found


def supervisor(command: Twinhull, name: str) -> str:
    """Who holds the lock of a running instance."""
    directory = command("inspect", name, check=True).json()[0]["directory"]
    inode = os.stat(f"{directory}/alive").st_ino
    return next(line.split()[4] for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line)


def processes_below(root: str) -> list[str]:
    """This process and all that came of it, as ps sees it."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    found, parents = [root], dict(line.split() for line in listed.splitlines())
    while more := [pid for pid, parent in parents.items() if parent in found and pid not in found]:
        found += more
    return found
