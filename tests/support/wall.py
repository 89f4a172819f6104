"""The command with one isolation: what a suite for both is parametrised over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.command import Result, Twinhull

START_S = 60.0


class Wall:
    """`wall(*words)` is any verb; `run` and `detached` start with this isolation."""

    def __init__(self, twinhull: Twinhull, isolation: str) -> None:
        self.twinhull = twinhull
        self.isolation = isolation

    def __call__(self, *words: str, stdin: str | None = None, check: bool = False) -> Result:
        """Any verb."""
        return self.twinhull(*words, stdin=stdin, check=check)

    def words(self, *words: str, verb: str = "run") -> tuple[str, ...]:
        """A run of this isolation, without network unless it names one."""
        network = () if {"--network", "-p", "-P"}.intersection(words) else ("--network", "none")
        return (verb, "--isolation", self.isolation, *network, *words)

    def run(self, *words: str, stdin: str | None = None, check: bool = False) -> Result:
        """Run and remove."""
        return self.twinhull(*self.words("--rm", *words), stdin=stdin, check=check)

    def detached(self, *words: str) -> str:
        """Start in the background; the id."""
        return self.twinhull(*self.words("-d", *words), check=True).stdout.strip()

    def created(self, *words: str) -> str:
        """Write down without a start; the id."""
        return self.twinhull(*self.words(*words, verb="create"), check=True).stdout.strip()

    def row(self, name: str) -> dict[str, Any]:
        """What `ps -a` says of one workload."""
        rows: list[dict[str, Any]] = self("ps", "-a", "--format", "json", check=True).json()
        return next(row for row in rows if row["name"] == name)

    def await_log(self, name: str, text: str) -> None:
        """Wait until the log has this in it."""
        deadline = time.monotonic() + START_S
        while text not in (found := self("logs", name, check=True).stdout):
            assert time.monotonic() < deadline, f"{text!r} is not in {found!r}"
            time.sleep(0.05)

    def wait_for_log(self, name: str, text: str) -> None:
        """Wait until the log is exactly this."""
        deadline = time.monotonic() + START_S
        while (found := self("logs", name, check=True).stdout) != text:
            assert time.monotonic() < deadline, f"{found!r} is not {text!r}"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def parity_home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    """One state directory for all that is done in both isolations: a guest's template is made once."""
    command = Twinhull(tmp_path_factory.mktemp("parity"), settings={"vm_spare": True})
    command("run", "--rm", "--network", "none", "busybox", "true", check=True)
    command("run", "--rm", "--vm", "--network", "none", "busybox", "true", check=True, timeout_s=120)
    return command


@pytest.fixture(params=["container", "vm"])
def wall(request: pytest.FixtureRequest, parity_home: Twinhull) -> Iterator[Wall]:
    """Either isolation; every workload is removed at the end."""
    yield Wall(parity_home, request.param)
    parity_home.remove_all()
