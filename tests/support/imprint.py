"""What tests of imprints share: which templates have one, and which processes go on from one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import machine, wait_until
from twinhull.config import Config
from twinhull.runtime import holder, spare

IMPRINT_S = 60.0
PLAIN = ("run", "--rm", "--vm", "--network", "none", "busybox")
SLEEP = ("run", "-d", "--vm", "--network", "none", "busybox", "sleep", "1000")


def config_of(vm: Twinhull) -> Config:
    """The configuration of the command under test."""
    return Config(state=str(vm.root / "state"), run=str(vm.root / "run"))


def imprints(vm: Twinhull) -> list[str]:
    """The templates whose holder has one."""
    config = config_of(vm)
    return [key for key in holder.keys(config) if holder.stock(config, key)[1]]


def makers(vm: Twinhull) -> list[str]:
    """Places where one is being made."""
    folder = vm.root / "state/spares"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def await_imprint(vm: Twinhull) -> None:
    """Wait for one; on a busy machine its guest takes a while to rehearse."""
    deadline = time.monotonic() + IMPRINT_S
    while not imprints(vm):
        assert time.monotonic() < deadline, "no imprint"
        time.sleep(0.1)


def settle(vm: Twinhull) -> None:
    """Wait until nothing is being made any more."""
    wait_until(lambda: not spare.is_being_made(config_of(vm)), "the end of the maker")


def begun(vm: Twinhull, *words: str) -> int:
    """Start a workload in the background and return the number of its QEMU."""
    return machine(vm, vm(*words, check=True, timeout_s=120).stdout.strip()).qemu


def is_imprinted(pid: int) -> bool:
    """True if a process goes on from an imprint."""
    return "/memfd:imprint" in Path(f"/proc/{pid}/maps").read_text()


@pytest.fixture(scope="module")
def imprinting_home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    """One state directory for a module, so that its template and the imprint are made once."""
    return Twinhull(tmp_path_factory.mktemp("imprint"), settings={"vm_spare": True})


@pytest.fixture
def imprinting(imprinting_home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """The command, with an imprint; every workload is removed at the end."""
    if not imprints(imprinting_home):
        imprinting_home(*PLAIN, "true", timeout_s=120, check=True)
        await_imprint(imprinting_home)
    yield imprinting_home
    imprinting_home.remove_all()
    settle(imprinting_home)
