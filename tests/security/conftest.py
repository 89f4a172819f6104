"""One state directory, one hostile program and one running workload an isolation for all attacks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import Result, Twinhull, share_kernels, share_templates

SOURCE = Path(__file__).parents[1] / "support/attack.c"
KERNEL_HEADERS = ("-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu", "-idirafter", "/usr/include")


@pytest.fixture(scope="session")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the hostile program, static."""
    path = tmp_path_factory.mktemp("attack")
    words = ["musl-gcc", "-static", "-Os", "-s", "-std=c11", "-Wall", "-Wextra", "-Werror", *KERNEL_HEADERS]
    subprocess.run([*words, "-o", str(path / "attack"), str(SOURCE)], check=True)
    return path


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Twinhull]:
    """One state directory for all attacks."""
    root = tmp_path_factory.mktemp("security")
    (root / "state").mkdir(0o700)
    share_kernels(root)
    share_templates(root, request)
    command = Twinhull(root)
    yield command
    command.remove_all()


class Box(NamedTuple):
    """A workload that runs for all tests, with the hostile program in /attack and a writable volume in /shared."""

    twinhull: Twinhull
    isolation: str
    identity: str
    words: tuple[str, ...]  # of a run with the same machine
    shared: Path

    def exec(self, *words: str, check: bool = False) -> Result:
        """Run a command in it."""
        return self.twinhull("exec", self.isolation, *words, check=check)

    def sh(self, script: str) -> str:
        """What a shell script prints in it, both outputs."""
        result = self.twinhull("exec", self.isolation, "sh", "-c", script)
        return result.stdout + result.stderr

    def run(self, *words: str) -> Result:
        """Run another of the same isolation, and remove it."""
        return self.twinhull("run", "--rm", *self.words, *words, timeout_s=120)


@pytest.fixture(scope="session", params=["container", "vm"])
def box(
    request: pytest.FixtureRequest, home: Twinhull, attack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    """The same attack behind either wall."""
    isolation = request.param
    shared = tmp_path_factory.mktemp("shared")
    words = ("--isolation", isolation, "--network", "none", "-v", f"{attack}:/attack:ro", "-v", f"{shared}:/shared")
    started = home("run", "-d", *words, "--name", isolation, "busybox", "sleep", "100000", check=True, timeout_s=180)
    yield Box(home, isolation, started.stdout.strip(), words, shared)
    home("rm", "-f", isolation)
