"""Workloads that the list does not know: it was lost, or an older copy of it was put back. Of both isolations."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time

import pytest

from tests.support.vm import wait_until
from tests.support.wall import Wall
from twinhull.host import locks


def forget(wall: Wall, identity: str) -> None:
    """What an older copy of the list is: without this workload."""
    with sqlite3.connect(wall.twinhull.root / "state" / "twinhull.db") as connection:
        connection.execute("DELETE FROM instance WHERE id=?", (identity,))
    connection.close()


@pytest.mark.parametrize("paused", [False, True])
def test_what_runs_unlisted_is_told_of_left_alone_and_ended_by_force_alone(wall: Wall, paused: bool) -> None:
    identity = wall.detached("--name", "lost", "-v", "kept:/kept", "busybox", "sleep", "1000")
    if paused:
        wall("pause", "lost", check=True)
    directory = wall.twinhull.root / "state" / "instances" / identity
    alive = f"{directory}/alive"
    forget(wall, identity)
    for _ in range(2):
        told = wall("ps", "-a", check=True)
        assert f"1 here in no list: {identity[:12]} (twinhull rm --force ID ends and removes one)" in told.stderr
        assert "lost" not in told.stdout
    assert locks.is_held(alive)
    refused = wall("rm", identity)
    assert (refused.exit_code, "no such workload" in refused.stderr) == (1, True)
    assert wall("rm", "--force", identity[:6]).exit_code == 0
    assert locks.is_held(alive) and directory.exists()
    wall("rm", "--force", identity[:12], check=True)
    assert not directory.exists()
    assert subprocess.run(["pgrep", "-f", identity], capture_output=True, check=False).stdout == b""
    assert wall("ps", "-a", check=True).stderr == ""
    assert "kept" in wall("volume", "ls", check=True).stdout


def test_what_has_ended_unlisted_keeps_its_files_until_it_is_removed(wall: Wall) -> None:
    identity = wall.detached("--name", "lost", "busybox", "true")
    wall("wait", "lost", check=True)
    directory = wall.twinhull.root / "state" / "instances" / identity
    wait_until(lambda: not locks.is_held(f"{directory}/alive"), "the end of its supervisor")
    forget(wall, identity)
    assert wall("ps", "-a", check=True).stderr == ""  # somebody may be removing it at this moment
    long_ago = time.time() - 100
    os.utime(directory, (long_ago, long_ago))
    assert identity[:12] in wall("ps", "-a", check=True).stderr
    assert (directory / "exit").exists()
    wall("rm", "--force", identity, check=True)
    assert not directory.exists()
