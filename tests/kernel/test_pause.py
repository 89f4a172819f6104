"""pause and unpause: the same for both isolations."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.wall import Wall

TICKS = ("busybox", "sh", "-c", "trap 'echo told; exit 5' TERM; while :; do echo tick; sleep 0.1; done")


def lines(wall: Wall, name: str) -> int:
    return wall("logs", name, check=True).stdout.count("\n")


@pytest.mark.parity("pause, unpause")
def test_a_paused_workload_stands_still_takes_no_exec_and_goes_on(wall: Wall) -> None:
    wall.detached("--name", "still", *TICKS)
    wall.await_log("still", "tick")
    assert wall("pause", "still", check=True).stdout == "still\n"
    assert wall.row("still")["status"] == "paused"
    assert "(Paused)" in wall("ps", check=True).stdout
    again = wall("pause", "still")
    assert (again.exit_code, "already paused" in again.stderr) == (1, True)
    for refused in (wall("exec", "still", "true"), wall("attach", "still")):
        assert (refused.exit_code, "twinhull unpause still" in refused.stderr) == (125, True)
    time.sleep(0.3)  # what was on its way has arrived
    seen = lines(wall, "still")
    time.sleep(0.5)
    assert lines(wall, "still") == seen
    assert "Unpause" in wall("start", "still").stderr.title()
    wall("unpause", "still", check=True)
    assert wall("exec", "still", "echo", "hi").stdout == "hi\n"
    again = wall("unpause", "still")
    assert (again.exit_code, "is not paused" in again.stderr) == (1, True)


@pytest.mark.parity(
    "top, diff and cp of what is paused",
    refused="its processor stands still, and with it whatever could look into it",
)
def test_what_is_paused_is_looked_into_where_the_hosts_kernel_can_look(wall: Wall, tmp_path: Path) -> None:
    wall.detached("--name", "still", "busybox", "sleep", "1000")
    wall("pause", "still", check=True)
    looks = (("top", "still"), ("diff", "still"), ("cp", "still:/etc/passwd", str(tmp_path)))
    for words in looks:
        looked = wall(*words)
        if wall.isolation == "container":
            assert looked.exit_code == 0, looked
        else:
            assert looked.exit_code == 125 and "its virtual machine stands still" in looked.stderr, looked
            assert "twinhull unpause still" in looked.stderr
    (row,) = wall("stats", "--no-stream", "--format", "json", "still", check=True).json()
    known = [row[name] is not None for name in ("memory_bytes", "memory_percent", "cpu_percent", "pids")]
    assert known == [wall.isolation == "container"] * 4 and row["host_memory_bytes"] > 0, row
    assert (" -- / " in wall("stats", "--no-stream", "still", check=True).stdout) == (wall.isolation == "vm")
    wall("unpause", "still", check=True)
    assert [wall(*words).exit_code for words in looks] == [0, 0, 0]


@pytest.mark.parity("stop, kill and rm of what is paused")
def test_stop_lets_a_paused_workload_end_as_it_likes(wall: Wall) -> None:
    wall.detached("--name", "asked", *TICKS)
    wall.await_log("asked", "tick")
    wall("pause", "asked", check=True)
    wall("stop", "-t", "30", "asked", check=True)
    assert wall("wait", "asked").stdout == "5\n"


@pytest.mark.parity("stop, kill and rm of what is paused")
def test_kill_and_rm_end_a_paused_workload(wall: Wall) -> None:
    wall.detached("--name", "first", *TICKS)
    wall("pause", "first", check=True)
    refused = wall("rm", "first")
    assert (refused.exit_code, "is paused" in refused.stderr) == (1, True)
    wall("kill", "first", check=True)
    assert wall("wait", "first").stdout == "137\n"
    wall("start", "first", check=True)
    wall("pause", "first", check=True)
    wall("rm", "-f", "first", check=True)
    assert wall("ps", "-aq").stdout == ""


def test_what_does_not_run_cannot_be_paused(wall: Wall) -> None:
    wall.created("--name", "written", "busybox")
    refused = wall("pause", "written")
    assert (refused.exit_code, "is not running" in refused.stderr) == (1, True)
