"""Where a kernel's source runs its own programs in a build: nothing of root's, no network, no life of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import REPOSITORY
from tests.support.vm import wait_until
from twinhull.errors import HostUnfit
from twinhull.runtime.kernel_build import Sandbox

USER = 1_234_567
SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from twinhull.runtime.kernel_build import Sandbox
Sandbox(sys.argv[2], int(sys.argv[3]), 2).run(("sh", "-c", "touch made; sleep 1000 & sleep 1000"), "waiting")
"""


@pytest.fixture
def place(tmp_path: Path, nothing_is_left_behind: None) -> Path:
    """A directory of the user's below one that only root enters, as the state directory is."""
    directory = tmp_path / "private/build"
    directory.mkdir(parents=True)
    directory.parent.chmod(0o700)
    os.chown(directory, USER, USER)
    return directory


def run(place: Path, script: str) -> list[str]:
    """Run a script there and return what it wrote."""
    with (place.parent / "log").open("w+") as log:
        lines: list[bytes] = []
        Sandbox(str(place), USER, log.fileno()).run(("sh", "-c", script), "the script", lines.append)
        log.seek(0)
        assert log.read() == b"".join(lines).decode()
    return [line.decode().strip() for line in lines]


def test_it_is_a_user_without_capabilities_or_network(place: Path) -> None:
    script = "id -u; id -G; pwd; grep -E 'Cap|NoNew' /proc/self/status; tail -n +3 /proc/net/dev | wc -l; env | wc -l"
    user, groups, directory, *rights, links, variables = run(place, script)
    assert (user, groups, directory) == (str(USER), str(USER), "/mnt")
    assert {line.split()[-1] for line in rights} == {"0000000000000000", "1"}
    assert links == "1", "the loopback alone"
    assert int(variables) <= 5
    assert run(place, "touch made && ls; ls /root 2>&1 | tail -1")[0] == "made"


def test_a_program_that_fails_is_an_error_with_its_last_words(place: Path) -> None:
    with pytest.raises(HostUnfit, match="the script failed: no such option") as caught:
        run(place, "echo first; echo no such option >&2; exit 3")
    assert "vm kernel ls" in caught.value.hint


def test_all_of_it_ends_with_whoever_began_it(place: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(REPOSITORY / "src"), str(place), str(USER)]
    builder = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    wait_until(lambda: (place / "made").exists(), "the script's first step")
    assert processes()
    builder.kill()
    builder.wait()
    wait_until(lambda: not processes(), "the end of the script")


def processes() -> list[int]:
    """Processes of the user that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == USER and (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found
