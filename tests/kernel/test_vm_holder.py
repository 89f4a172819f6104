"""`launcher hold`: a template's memory, verified, sealed, lent, and given back when nobody wants it."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.privileges import LAUNCHER
from tests.support.vm import wait_until
from twinhull.config import Config
from twinhull.host import locks
from twinhull.runtime import holder as holders
from twinhull.runtime import template

F_GET_SEALS, SEALED = 1034, 0xF
PAGES = ((0, b"a"), (7, b"b"), (300, b"c"))
SIZE = 4096 * 1024


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """A sparse file as a template's memory is one."""
    path = tmp_path / "memory"
    with path.open("wb") as file:
        file.truncate(SIZE)
        for page, letter in PAGES:
            os.pwrite(file.fileno(), letter * 4096, page * 4096)
    return path


class Holder:
    """A holder's directory, and how it is started and asked."""

    def __init__(self, directory: Path, memory: Path) -> None:
        self.directory = directory
        self.run = str(directory.parents[1])
        self.memory = memory

    def start(self, digest: str, *, idle_s: int = 30) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.directory / "sock"))
        listener.listen()
        fds = {3: os.open(self.memory, os.O_RDONLY), 4: listener.fileno(), 5: os.open(self.directory, os.O_RDONLY)}
        script = 'exec "$0" hold "$1" "$2" 0 ' + " ".join(f"{number}<&{fd}" for number, fd in fds.items())
        words = ["bash", "-c", script, str(LAUNCHER), digest, str(idle_s)]
        subprocess.run(words, pass_fds=tuple(fds.values()), check=True)
        listener.close()
        os.close(fds[3])
        os.close(fds[5])

    def borrow(self) -> int | None:
        connection = holders.connect(str(self.directory))
        if connection is None:
            return None
        _, fds = holders.ask(connection, holders.MEMORY)
        return fds[0] if fds else None

    def is_alive(self) -> bool:
        return locks.is_held(str(self.directory / "holder"))


@pytest.fixture
def holder(tmp_path: Path, memory: Path, nothing_is_left_behind: None) -> Iterator[Holder]:
    directory = tmp_path / "run/templates/key"
    directory.mkdir(parents=True)
    held = Holder(directory, memory)
    yield held
    holders.end(Config(run=held.run), "key")
    wait_until(lambda: not held.is_alive(), "the end of the holder")


def digest(memory: Path) -> str:
    return template.digest(str(LAUNCHER), str(memory))


def test_what_is_lent_is_the_memory_and_cannot_be_changed(holder: Holder, memory: Path) -> None:
    holder.start(digest(memory))
    fd = holder.borrow()
    assert fd is not None
    with os.fdopen(fd, "rb") as file:
        assert file.read() == memory.read_bytes()
        assert os.fstat(fd).st_blocks * 512 < SIZE // 2, "holes were filled"
        assert fcntl.fcntl(fd, F_GET_SEALS) == SEALED
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 0)
        os.close(again)


def test_damaged_memory_is_never_lent(holder: Holder, memory: Path) -> None:
    wanted = digest(memory)
    with memory.open("r+b") as file:
        os.pwrite(file.fileno(), b"x", 4096 * 7 + 100)
    holder.start(wanted)
    assert holder.borrow() is None
    wait_until(lambda: not holder.is_alive(), "the end of the holder")


@pytest.mark.parametrize("change", ["moved", "cut", "longer"])
def test_the_digest_sees_more_than_bytes(memory: Path, change: str) -> None:
    before = digest(memory)
    with memory.open("r+b") as file:
        if change == "moved":
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.pwrite(file.fileno(), b"a" * 4096, 4096)
        elif change == "cut":
            file.truncate(4096 * 299)
        else:
            os.pwrite(file.fileno(), b"z" * 4096, SIZE)
    assert digest(memory) != before


def test_a_hole_and_a_page_of_zeroes_are_the_same(memory: Path) -> None:
    before = digest(memory)
    with memory.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(4096), 4096 * 9)
    assert digest(memory) == before


def test_an_idle_holder_ends_and_takes_its_socket_along(holder: Holder, memory: Path) -> None:
    holder.start(digest(memory), idle_s=1)
    fd = holder.borrow()
    assert fd is not None
    os.close(fd)
    wait_until(lambda: not holder.is_alive(), "the end of an idle holder")
    assert not (holder.directory / "sock").exists()
