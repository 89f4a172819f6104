"""A caller whose umask keeps others out: what users inside have to read, they can."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Twinhull

LOOK = "cat /etc/hosts /etc/resolv.conf /etc/hostname > /dev/null && ls / /vol && nslookup $(hostname) > /dev/null"


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_a_narrow_umask_shuts_nobody_out(tmp_path: Path, isolation: str) -> None:
    twinhull = Twinhull(tmp_path)
    words = ("run", "--rm", "--isolation", isolation, "-u", "1000", "-v", "data:/vol", "busybox", "sh", "-c", LOOK)
    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$0" "$@"', COMMAND, *words],
        env=twinhull.environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    twinhull.remove_all()
    assert done.returncode == 0, done.stderr
    assert "etc" in done.stdout.split()
