"""top and stats: the same for both isolations."""

from __future__ import annotations

import re
import time

import pytest

from tests.support.wall import START_S, Wall

BUSY = ("busybox", "sh", "-c", "sleep 1003 & while :; do :; done")


@pytest.mark.parity("top")
def test_top_lists_the_processes_without_asking_the_image(wall: Wall) -> None:
    wall.detached("--name", "busy", "-u", "12", *BUSY)
    deadline = time.monotonic() + START_S
    # A process that is about to execute its program has no words yet, and is shown in brackets.
    while (shown := wall("top", "busy", check=True).stdout).count("\n") < 3 or "[" in shown:
        assert time.monotonic() < deadline, shown
    lines = shown.splitlines()
    assert lines[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert all(re.match(r"12 +\d+ +\d+ +\d+ +\d\d:\d\d +\? +\d\d:\d\d:\d\d +s", line) for line in lines[1:]), shown
    rows = wall("top", "busy", "-o", "ppid,pid,comm", check=True).stdout.splitlines()
    parent = next(line.split()[1] for line in rows if line.endswith(" sh"))
    assert next(line.split()[0] for line in rows if line.endswith(" sleep")) == parent
    assert wall("top", "busy", "aux", check=True).stdout.startswith("USER")
    refused = wall("top", "busy", "--forest")
    assert (refused.exit_code, "unknown options" in refused.stderr) == (125, True)
    usage = wall("stats", "--no-stream", "--format", "json", "busy", check=True).json()
    assert [row["name"] for row in usage] == ["busy"]
    (row,) = usage
    assert row["cpu_percent"] > 5, row
    assert row["pids"] == 2
    assert 0 < row["memory_bytes"] < row["memory_limit_bytes"]
    assert row["host_memory_bytes"] >= row["memory_bytes"] or wall.isolation == "vm"
    shown = wall("stats", "--no-stream", check=True).stdout
    assert "busy" in shown and "MEM USAGE / LIMIT" in shown
    wall("pause", "busy", check=True)
    (row,) = wall("stats", "--no-stream", "--format", "json", check=True).json()
    assert row["host_cpu_percent"] < 1


@pytest.mark.parity("stats")
def test_stats_counts_the_network_and_what_does_not_run_uses_nothing(wall: Wall) -> None:
    sender = "while :; do ping -c 1 -s 1000 $(ip route | awk '/default/ {print $3}') > /dev/null; sleep 0.1; done"
    wall.detached("--name", "sender", "--network", "bridge", "--memory", "64m", "busybox", "sh", "-c", sender)
    wall.created("--name", "still", "busybox")
    deadline = time.monotonic() + START_S
    while True:
        (row,) = wall("stats", "--no-stream", "--format", "json", "sender", check=True).json()
        if row["sent_bytes"] > 3000:
            break
        assert time.monotonic() < deadline, row
    assert row["memory_limit_bytes"] == 64 << 20
    rows = {row["name"]: row for row in wall("stats", "-a", "--no-stream", "--format", "json", check=True).json()}
    assert (rows["still"]["pids"], rows["still"]["cpu_percent"]) == (0, 0)
    refused = wall("top", "still")
    assert (refused.exit_code, "is not running" in refused.stderr) == (125, True)


@pytest.mark.parity("top")
def test_a_process_cannot_hide_behind_the_name_that_it_chose(wall: Wall) -> None:
    script = r"printf 'a\nb) c' > /proc/$$/comm; while :; do sleep 1; done"
    wall.detached("--name", "odd", "busybox", "sh", "-c", script)
    deadline = time.monotonic() + START_S
    while "a?b) c" not in (shown := wall("top", "odd", "-o", "pid,comm", check=True).stdout):
        assert time.monotonic() < deadline, shown
