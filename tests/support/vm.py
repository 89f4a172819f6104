"""A state directory for virtual machines, and what the kernel shows of each: its keeper, its relay, its QEMU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import Twinhull, share_templates
from tests.support.leaks import children, reap

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Twinhull:
    """One state directory for the module."""
    command = Twinhull(tmp_path_factory.mktemp("vm"))
    share_templates(command.root, request)
    return command


@pytest.fixture
def vm(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """The command; every workload is removed at the end."""
    yield home
    home.remove_all()


class Machine(NamedTuple):
    """The processes of one virtual machine."""

    keeper: int
    relay: int
    qemu: int


def machine(twinhull: Twinhull, identity: str) -> Machine:
    """Find the processes of a running workload."""
    return machine_in(twinhull.root / "state/instances" / identity)


def machine_in(directory: Path) -> Machine:
    """Find the processes that belong to a directory: the keeper holds the lock `alive`."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and f"{directory}/alive" in open_files(int(process.name)):
            keeper = int(process.name)
            names = {name_of(child): child for child in children(keeper)}
            qemu = next(pid for name, pid in names.items() if name.startswith("qemu"))
            return Machine(keeper, names["twinhull-relay"], qemu)
    raise AssertionError(f"no process holds {directory}/alive")


def open_files(pid: int) -> set[str]:
    """Return what a process has open."""
    found = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    except OSError:
        pass
    return found


def name_of(pid: int) -> str:
    """Return the name of a process as the kernel has it."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def status(pid: int, field: str) -> str:
    """Return one field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    raise AssertionError(f"{pid} has no {field}")


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that must come soon."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)
        reap()
