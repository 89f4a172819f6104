"""Verbs that take several names: one that fails leaves the others, and what waits does so for all at once."""

from __future__ import annotations

import time

import pytest

from tests.support.command import Twinhull

DEAF = ("busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")


def test_workloads_are_stopped_at_the_same_time(twinhull: Twinhull) -> None:
    names = [f"deaf-{number}" for number in range(4)]
    for name in names:
        twinhull("run", "-d", "--network", "none", "--name", name, *DEAF, check=True)
    began = time.monotonic()
    done = twinhull("stop", "-t", "2", *names, "nosuch")
    took = time.monotonic() - began
    assert done.exit_code == 1
    assert sorted(done.stdout.split()) == names
    assert "no such workload: nosuch" in done.stderr
    assert took < 2 * 2.0, "not one after the other"
    states = {row["status"] for row in twinhull("ps", "-a", "--format", "json", check=True).json()}
    assert states == {"exited"}


def test_those_that_there_are_are_shown(twinhull: Twinhull) -> None:
    twinhull("run", "-d", "--network", "none", "--name", "here", *DEAF, check=True)
    twinhull("volume", "create", "data", check=True)
    twinhull("network", "create", "lab", check=True)
    for words in (("inspect", "here"), ("volume", "inspect", "data"), ("network", "inspect", "lab")):
        done = twinhull(*words, "nosuch")
        assert (done.exit_code, len(done.json())) == (1, 1), words
        assert "nosuch" in done.stderr
    done = twinhull("stats", "--no-stream", "--format", "json", "nosuch", "here")
    assert (done.exit_code, [row["name"] for row in done.json()]) == (1, ["here"])
    assert twinhull("inspect", "nosuch").stdout == "[]\n"


@pytest.mark.parametrize("words", [("volume", "prune"), ("network", "prune")])
def test_nothing_is_pruned_where_nobody_can_be_asked(twinhull: Twinhull, words: tuple[str, ...]) -> None:
    done = twinhull(*words)
    assert done.exit_code == 125
    assert "--force does it without asking" in done.stderr
