"""What a suite is: the source package that it comes from, and a function that runs it against a runtime."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

Outcome = Literal["passed", "failed", "skipped"]

# What a test mounts and leaves is gone with it. crun 1.8 takes a hybrid hierarchy for a broken one: it is run where the
# tree of version 2 is not to be seen.
_PRIVATE = ["unshare", "--mount"]
_WITHOUT_UNIFIED = [*_PRIVATE, "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh"]


class Result(NamedTuple):
    """One test's outcome; of a failure or a skip the reason, as the suite printed it."""

    test: str
    outcome: Outcome
    text: str = ""


class Place(NamedTuple):
    """Where a suite runs: its unpacked source, a directory that is emptied afterwards, the runtime, which tests."""

    source: Path
    scratch: Path
    runtime: Path
    only: str

    def wants(self, test: str) -> bool:
        """Is this test asked for? An empty word asks for all."""
        return self.only in test


class Suite(NamedTuple):
    """A suite: Debian's source package and release that it is taken from; `build` is called once for a source."""

    name: str
    package: str
    release: str
    build: Callable[[Path], None]
    run: Callable[[Place], Iterator[Result]]


def run_test(place: Place, command: Sequence[str], *, timeout: float, **environment: str) -> tuple[int, str]:
    """A test's exit status and what it printed; -1 if it took longer than `timeout` seconds."""
    prefix = _WITHOUT_UNIFIED if place.runtime.name == "crun" else _PRIVATE
    variables = {**os.environ, "TMPDIR": str(place.scratch), **environment}
    with subprocess.Popen(
        [*prefix, *command],
        cwd=place.source,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            output, _ = child.communicate()
            return -1, output.decode(errors="replace") + f"\nno end after {timeout:.0f} s"
    return child.returncode, output.decode(errors="replace")


def remove_groups(name: str) -> None:
    """Remove the control groups below one of this name: of tests that were stopped, whose processes have ended."""
    for group in Path("/sys/fs/cgroup").glob(f"*/{name}"):
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):  # the results are worth more
                os.rmdir(folder)
