"""Restart policies: the same for both isolations, and a user's word is the last."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.wall import START_S, Wall
from twinhull.host import memory

# One line a start, in a file that outlives it and in the log.
COUNTS = 'echo x >>/runs; echo "run $(wc -l </runs)"'
FAILS = ("busybox", "sh", "-c", f"{COUNTS}; exit 3")


def policy(wall: Wall, name: str) -> dict[str, Any]:
    (row,) = wall("inspect", name, check=True).json()
    found: dict[str, Any] = row["restart"]
    return found


def await_state(wall: Wall, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while not condition(row := wall.row(name)):
        assert time.monotonic() < deadline, row
        time.sleep(0.02)
    return row


def await_shown(wall: Wall, text: str) -> None:
    deadline = time.monotonic() + START_S
    while text not in (shown := wall("ps", check=True).stdout):
        assert time.monotonic() < deadline, shown


def is_restarting(row: dict[str, Any]) -> bool:
    return bool(row["status"] == "restarting")


@pytest.mark.parity("`--restart`: no, on-failure, always, unless-stopped")
@pytest.mark.parametrize("network", ["none", "bridge"])
def test_a_failure_starts_it_again_so_often_and_keeps_files_log_and_code(wall: Wall, network: str) -> None:
    wall.detached("--name", "fails", "--network", network, "--restart", "on-failure:2", *FAILS)
    await_state(wall, "fails", lambda row: row["restart"]["count"] == 2 and row["status"] == "exited")
    assert wall("logs", "fails", check=True).stdout == "run 1\nrun 2\nrun 3\n"
    assert wall("wait", "fails", check=True).stdout == "3\n"
    assert policy(wall, "fails") == {"policy": "on-failure", "attempts": 2, "count": 2, "error": None}
    wall("start", "fails", check=True)  # a user's start counts anew
    wall.await_log("fails", "run 6\n")
    wall.detached("--name", "content", "--restart", "on-failure", "busybox", "sh", "-c", COUNTS)
    assert wall("wait", "content", check=True).stdout == "0\n"
    time.sleep(0.5)
    assert (wall.row("content")["status"], policy(wall, "content")["count"]) == ("exited", 0)


@pytest.mark.parity("`--restart`: stop, kill and rm are the end, while it waits too")
@pytest.mark.parametrize("verb", [("stop", "-t", "0"), ("kill",), ("rm", "-f")])
def test_what_a_user_ends_stays_ended(wall: Wall, verb: tuple[str, ...]) -> None:
    wall.detached("--name", "runs", "--restart", "always", "busybox", "sleep", "1009")
    wall.detached("--name", "waits", "--restart", "unless-stopped", *FAILS)
    await_shown(wall, "restarting (3)")
    for name in ("runs", "waits"):
        assert wall(*verb, name, check=True).stdout == f"{name}\n"
    if verb[0] == "rm":
        assert wall("ps", "-aq").stdout == ""
        return
    log = wall("logs", "waits").stdout
    time.sleep(1.5)
    assert {wall.row(name)["status"] for name in ("runs", "waits")} == {"exited"}
    assert wall("logs", "waits").stdout == log
    assert wall("wait", "runs").stdout == "137\n"
    wall("start", "runs", check=True)
    assert wall.row("runs")["status"] == "running"


@pytest.mark.parity("update `--restart`")
def test_another_policy_is_true_from_the_next_end_on(wall: Wall) -> None:
    wall.detached("--name", "box", "-i", "busybox", "sh", "-c", f"{COUNTS}; read line; exit 0")
    assert wall("update", "--restart", "always", "box", check=True).stdout == "box\n"
    wall("attach", "box", stdin="end\n")
    wall.await_log("box", "run 2\n")
    wall("update", "--restart", "no", "box", check=True)
    await_state(wall, "box", lambda row: row["status"] == "running")
    wall("attach", "box", stdin="end\n")
    time.sleep(0.5)
    assert (wall.row("box")["status"], policy(wall, "box")["policy"]) == ("exited", "no")
    refused = wall("update", "--restart", "sometimes", "box")
    assert (refused.exit_code, "no such policy" in refused.stderr) == (1, True)


def test_wait_and_the_foreground_see_one_end_and_logs_follow_all(wall: Wall) -> None:
    first = wall(*wall.words("--name", "front", "--restart", "on-failure:1", *FAILS))
    assert (first.exit_code, first.stdout) == (3, "run 1\n")
    assert wall("logs", "-f", "front", check=True).stdout == "run 1\nrun 2\n"
    refused = wall("rm", "front")
    assert refused.exit_code == 0, refused.stderr


def test_a_restarting_workload_takes_no_exec_and_is_started_at_once(wall: Wall) -> None:
    wall.detached("--name", "box", "--restart", "always", *FAILS)
    await_state(wall, "box", lambda row: is_restarting(row) and row["restart"]["count"] > 3)
    for words in (("exec", "box", "true"), ("rm", "box"), ("pause", "box")):
        refused = wall(*words)
        assert refused.exit_code in (1, 125), refused
        assert "is restarting" in refused.stderr
    wall("start", "box", check=True)
    assert policy(wall, "box")["count"] < 3
    wall("rm", "-f", "box", check=True)


def test_what_contradicts_itself_is_refused(wall: Wall) -> None:
    for words, text in (
        (("--rm", "--restart", "always"), "conflicting options"),
        (("--restart", "always:3"), "only on-failure"),
        (("--restart", "on-failure:x"), "not a number"),
    ):
        refused = wall(*wall.words(*words, "busybox", "true"))
        assert (refused.exit_code, text in refused.stderr) == (125, True), refused.stderr
    assert wall("ps", "-aq").stdout == ""


def test_a_supervised_process_that_is_killed_from_outside_counts_as_failure(wall: Wall) -> None:
    """Of a virtual machine QEMU itself."""
    wall.detached("--name", "box", "--restart", "on-failure", "busybox", "sleep", "1010")
    row = wall.row("box")
    supervisor = memory.holder(str(wall.twinhull.root / "state/instances" / row["id"] / "alive"))
    supervised = [pid for pid in memory.tree(supervisor) if pid != supervisor and not is_ours(pid)]
    assert len(supervised) == 1, supervised
    os.kill(supervised[0], signal.SIGKILL)
    await_state(wall, "box", lambda found: found["restart"]["count"] == 1 and found["status"] == "running")


def is_ours(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().startswith("twinhull")


def test_a_start_that_came_to_nothing_is_not_tried_again(wall: Wall) -> None:
    failed = wall(*wall.words("-d", "--name", "box", "--restart", "always", "busybox", "/no/such/program"))
    assert failed.exit_code == 127, failed.stderr
    assert (wall.row("box")["status"], wall.row("box")["restart"]["count"]) == ("created", 0)


def test_a_supervisor_that_is_killed_while_it_waits_leaves_an_end(wall: Wall) -> None:
    wall.detached("--name", "box", "--restart", "always", *FAILS)
    row = await_state(wall, "box", lambda row: is_restarting(row) and row["restart"]["count"] > 4)
    os.kill(memory.holder(str(wall.twinhull.root / "state/instances" / row["id"] / "alive")), signal.SIGKILL)
    await_state(wall, "box", lambda row: row["status"] == "exited")
    assert wall("cp", "box:/runs", "-", check=True).stdout  # its lock is held meanwhile, and it does not restart
    assert wall.row("box")["status"] == "exited"
    wall("start", "box", check=True)
    wall("rm", "-f", "box", check=True)


def test_after_a_boot_one_command_starts_what_shall_run(wall: Wall) -> None:
    """A boot is what no record and no supervisor are left of."""
    names = {
        "always": ("always",),
        "kept": ("unless-stopped",),
        "stopped": ("unless-stopped",),
        "once": ("on-failure",),
    }
    for name, words in names.items():
        wall.detached("--name", name, "--restart", *words, "busybox", "sleep", "1011")
    for name in ("always", "stopped"):
        wall("stop", "-t", "0", name, check=True)
    supervisors = [wall.twinhull.root / "state/instances" / wall.row(name)["id"] / "alive" for name in ("kept", "once")]
    for path in supervisors:
        os.kill(memory.holder(str(path)), signal.SIGKILL)
    started = wall("start", "--boot", check=True).stdout.splitlines()
    assert started == ["always", "kept"]
    assert {name: wall.row(name)["status"] for name in names} == {
        "always": "running",
        "kept": "running",
        "stopped": "exited",
        "once": "exited",
    }
    assert "or --boot" in wall("start").stderr
