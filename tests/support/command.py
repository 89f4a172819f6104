"""The real command, run as a user runs it, against a state directory of its own."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import leaks
from twinhull.config import Config
from twinhull.network import bridge
from twinhull.runtime import holder

REPOSITORY = Path(__file__).parents[2]
COMMAND = REPOSITORY / ".venv/bin/twinhull"
TEST_LAUNCHER = REPOSITORY / "build/launcher-test/launcher"


class Result(NamedTuple):
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Parse stdout."""
        return json.loads(self.stdout)


class Twinhull:
    """`twinhull(*words)` runs one command; `popen` leaves it running. State is below `root`."""

    def __init__(self, root: Path, settings: dict[str, Any] | None = None, variables: dict[str, str] | None = None):
        self.root = root
        self.config = root / "config.toml"
        # What is made behind a command's back belongs to the tests of it.
        settings = {"vm_spare": False, **(settings or {})}
        self.config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        self.variables = variables or {}
        self.command: tuple[str, ...] = (str(COMMAND),)
        leaks.claim(root)
        share_kernels(root)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the variables that a command of this instance runs with."""
        own = {"TWINHULL_ROOT": str(self.root), "TWINHULL_CONFIG": str(self.config), "TERM": "dumb"}
        return {**os.environ, **own, **self.variables, **variables}

    def __call__(
        self,
        *words: str,
        stdin: str | None = None,
        timeout_s: float = 60,
        check: bool = False,
        variables: dict[str, str] | None = None,
    ) -> Result:
        """Run to the end. With `check`, a status other than 0 fails the test and shows both outputs."""
        leaks.reap()
        done = subprocess.run(
            [*self.command, *words],
            env=self.environment(**(variables or {})),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
        leaks.reap()
        leaks.claim(self.root)
        shown = f"twinhull {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, shown
        assert "Traceback (most recent call last)" not in done.stderr, shown
        return Result(done.returncode, done.stdout, done.stderr)

    def popen(self, *words: str, **streams: Any) -> subprocess.Popen[str]:
        """Start a command and leave it running; the test ends it."""
        process = subprocess.Popen(
            [*self.command, *words], env=self.environment(), text=True, start_new_session=True, **streams
        )
        leaks.AWAITED.add(process.pid)
        return process

    def names(self) -> list[str]:
        """Every workload there is, running or not."""
        return [str(row["name"]) for row in self("ps", "--all", "--format", "json", check=True).json()]

    def remove_all(self) -> None:
        """Remove every workload, running or not, the network they were on, and the holders of templates."""
        for name in self.names():
            self("rm", "--force", name)
        remove_network(self.root)
        holder.end_all(Config(state=str(self.root / "state"), run=str(self.root / "run")))


def share_kernels(root: Path) -> None:
    """Let all tests use one guest kernel: the first that needs it downloads it.

    With TWINHULL_GUEST_KERNEL=built it is the one that `make guest-kernel` has built.
    """
    if (root / "state").exists():
        return
    (root / "state").mkdir(0o700)
    built = os.environ.get("TWINHULL_GUEST_KERNEL") == "built"
    for name in ("kernels", "kernels-arm64"):
        cache = REPOSITORY / "build" / ("guest-kernel/state/kernels" if built and name == "kernels" else name)
        cache.mkdir(parents=True, exist_ok=True)
        (root / "state" / name).symlink_to(cache)


def share_templates(root: Path, request: pytest.FixtureRequest) -> None:
    """Let all tests start guests from the same templates, but those marked `own_templates`: each boot takes seconds."""
    if request.node.get_closest_marker("own_templates") is None:
        cache = REPOSITORY / "build/templates"
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "state/templates").symlink_to(cache)


def remove_network(root: Path) -> None:
    """Take away the bridges and the packet filter's table of one state directory; none is fine."""
    config = Config(state=str(root / "state"), run=str(root / "run"))
    if not os.path.exists(config.database):
        return
    database = sqlite3.connect(config.database, isolation_level=None)
    try:
        if os.path.exists(f"{config.run}/network"):
            bridge.ensure(config, database)  # a command that was killed may have made half of it
        for network in bridge.every(database):
            bridge.remove(config, database, network.name)
    finally:
        database.close()
