"""update: the same for both isolations, while they run and for the next start."""

from __future__ import annotations

import pytest

from tests.support.wall import Wall

LIMITED = ("--memory", "64m", "--pids-limit", "40", "--cpus", "1")
FORKS = (
    "for i in $(seq 30); do sleep 5 & done 2>&1; kill $(jobs -p) 2>/dev/null; wait"  # the first process reaps nobody
)


@pytest.mark.parity("update `--memory`, `--cpus`, `--pids-limit`")
def test_the_limits_of_what_runs_change_at_once_and_stay(wall: Wall) -> None:
    wall.detached("--name", "box", *LIMITED, "busybox", "sleep", "1007")
    assert "fork" not in wall("exec", "box", "sh", "-c", FORKS).stdout
    assert wall("update", "--pids-limit", "10", "--memory", "48m", "--cpus", "0.5", "box", check=True).stdout == "box\n"
    assert "fork" in wall("exec", "box", "sh", "-c", FORKS).stdout
    (row,) = wall("stats", "--no-stream", "--format", "json", "box", check=True).json()
    assert row["memory_limit_bytes"] == 48 << 20
    wall("update", "--memory", "80m", "box", check=True)
    (row,) = wall("inspect", "box", check=True).json()
    asked = row["request"]
    assert (asked["memory_bytes"], asked["cpus"], asked["pids_limit"]) == (80 << 20, 0.5, 10)
    wall("restart", "-t", "0", "box", check=True)
    assert "fork" in wall("exec", "box", "sh", "-c", FORKS).stdout
    wall("update", "--pids-limit", "-1", "box", check=True)
    assert "fork" not in wall("exec", "box", "sh", "-c", FORKS).stdout


def test_less_memory_than_is_in_use_is_refused_and_the_workload_runs_on(wall: Wall) -> None:
    fill = "dd if=/dev/zero of=/dev/shm/x bs=1M count=50 2>/dev/null; echo full; while :; do sleep 1; done"
    wall.detached("--name", "box", "--memory", "128m", "--pids-limit", "20", "busybox", "sh", "-c", fill)
    wall.await_log("box", "full")
    refused = wall("update", "--memory", "20m", "--pids-limit", "9", "box")
    assert (refused.exit_code, "box uses more memory than that now" in refused.stderr) == (1, True), refused.stderr
    (row,) = wall("inspect", "box", check=True).json()
    assert (row["status"], row["request"]["memory_bytes"]) == ("running", 128 << 20)
    wall("exec", "box", "sh", "-c", "head -c 40m /dev/zero > /y && sync && rm /dev/shm/x", check=True)
    wall("update", "--memory", "20m", "box", check=True)
    if wall.isolation == "vm":
        wall("pause", "box", check=True)
        assert "is paused" in wall("update", "--memory", "30m", "box").stderr
        wall("update", "--restart", "no", "box", check=True)
        wall("unpause", "box", check=True)


def test_what_cannot_be_is_refused_with_its_reason(wall: Wall) -> None:
    wall.detached("--name", "box", "--network", "none", "busybox", "sleep", "1008")
    if wall.isolation == "vm":
        for words, text in (
            (("--cpus", "2"), "has 1 processor"),
            (("--memory", "16g"), "with which its machine was made"),
        ):
            refused = wall("update", *words, "box")
            assert (refused.exit_code, text in refused.stderr) == (1, True), refused.stderr
    assert "nothing to change" in wall("update", "box").stderr
    wall("stop", "-t", "0", "box", check=True)
    wall("update", "--memory", "64m", "box", check=True)
    (row,) = wall("inspect", "box", check=True).json()
    assert (row["status"], row["request"]["memory_bytes"]) == ("exited", 64 << 20)
