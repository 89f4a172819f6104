"""What is still told to a user who is not root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Twinhull
from twinhull.compare.outputs import document

NOBODY = 65534
# Not root, but able to reach a checkout that lies in a closed directory.
READ = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
NO_ROOT = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *READ)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A place that nobody's commands may write."""
    found = tmp_path / "state"
    found.mkdir()
    os.chown(found, NOBODY, NOBODY)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    return found


def nobody(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as nobody, whose state is his own."""
    environment = {**os.environ, "TWINHULL_ROOT": str(state), "HOME": str(state)}
    return subprocess.run(
        [*NO_ROOT, COMMAND, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_embedded_image_has_the_same_plan(twinhull: Twinhull, state: Path) -> None:
    words = ("plan", "--network", "none", "-u", "nobody", "busybox", "id")
    done = nobody(state, *words)
    assert done.returncode == 0, done.stderr
    expected = twinhull(*words, check=True).stdout.replace(str(twinhull.root), str(state))
    assert done.stdout == expected + "# note: this is what root would do\n"


def test_compare_says_what_it_can_and_refuses_the_rest(state: Path) -> None:
    done = nobody(state, "compare")
    assert done.returncode == 125
    assert f"Linux {os.uname().release}" in " ".join(done.stdout.split())
    assert "root: missing" in done.stdout
    assert done.stderr.startswith("twinhull: this machine cannot run workloads: root:")


def test_a_program_gets_a_comparison_with_the_reasons(state: Path) -> None:
    done = nobody(state, "compare", "--format", "json")
    assert done.returncode == 125
    found = document.read(done.stdout, "what it printed")
    assert "root" in found["gaps"]["vm"]
    assert "root" in found["gaps"]["container"]
    assert (found["rows"], found["samples"], found["recommendation"]["choice"]) == ([], {}, "stop")
    assert found["host"]["kernel"] == os.uname().release
