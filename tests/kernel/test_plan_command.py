"""`twinhull plan` shows what would be done and does nothing, with or without root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.command import COMMAND, Twinhull

NOBODY = 65534
# Not root, but able to reach a checkout that lies in a closed directory.
NO_ROOT = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def test_a_plan_starts_nothing_and_takes_nothing(twinhull: Twinhull) -> None:
    shown = twinhull("plan", "-p", "8080:80", "busybox", "echo", "hi", check=True).stdout
    assert "argument 'hi'" in shown
    assert twinhull("ps", "--all", "--format", "json", check=True).json() == []
    stages = [row["stage"] for row in twinhull("plan", "--format", "json", "busybox", check=True).json()]
    assert stages == sorted(stages, key=("host", "child", "undo").index)


def test_without_root_the_embedded_image_has_the_same_plan(twinhull: Twinhull, tmp_path: Path) -> None:
    words = ("plan", "--network", "none", "-u", "nobody", "busybox", "id")
    mine = tmp_path / "mine"
    mine.mkdir()
    os.chown(mine, NOBODY, NOBODY)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    environment = {**os.environ, "TWINHULL_ROOT": str(mine), "HOME": str(mine)}
    done = subprocess.run(
        [*NO_ROOT, COMMAND, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = twinhull(*words, check=True).stdout.replace(str(twinhull.root), str(mine))
    assert done.stdout == expected + "# note: performing it needs root\n"
