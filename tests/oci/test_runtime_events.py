"""What `events`, `list` and `features` tell, and which words they take."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.support.oci import PATIENCE_S, Container


def test_events_tell_of_a_process_that_was_killed_for_want_of_memory(ours: Container) -> None:
    ours.spec["linux"]["resources"]["memory"] = {"limit": 16 << 20}
    ours.sh("mkfifo /go; while :; do sh -c 'read x </go; x=x; while :; do x=$x$x; done'; done").begin()
    words = ours.argv("events", "--interval", "1h", ours.id)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout
        assert json.loads(events.stdout.readline())["type"] == "stats"
        ours.exec("/bin/sh", "-c", "echo go >/go")
        assert json.loads(events.stdout.readline())["type"] == "oom"
        events.kill()


def test_events_end_with_the_container_not_with_their_interval(ours: Container) -> None:
    ours.begin()
    with subprocess.Popen(ours.argv("events", "--interval", "1h", ours.id), stdout=subprocess.DEVNULL) as events:
        time.sleep(0.3)
        ours.do("kill", ours.id, "KILL")
        assert events.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("interval", ["500ms", "1m30s", "+.5s", "2s"])
def test_an_interval_is_a_duration(ours: Container, interval: str) -> None:
    ours.begin()
    assert ours.do("events", "--stats", "--interval", interval, ours.id).returncode == 0


@pytest.mark.parametrize("interval", ["0s", "-1s", "x", "1s x", "5y"])
def test_an_interval_that_is_none_is_refused(ours: Container, interval: str) -> None:
    ours.begin()
    failed = ours.do("events", "--stats", f"--interval={interval}", ours.id, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith("--interval"), failed.stderr


def test_formats_that_nobody_has_are_refused(container: Container) -> None:
    container.create()
    assert container.do("list", "--format", "bad", check=False).returncode == 1
    for verb in (["list"], ["state", container.id]):
        assert container.do("--log-format", "xml", *verb, check=False).returncode == 1


def test_features_name_the_annotation_that_decides_about_the_isolation(ours: Container) -> None:
    features = json.loads(ours.do("features").stdout)
    assert features["potentiallyUnsafeConfigAnnotations"] == ["dev.twinhull.isolation"]
    assert "tmpcopyup" in features["mountOptions"]


def test_without_groups_events_leave_out_what_is_not_known(ours: Container) -> None:
    ours.write()
    ours.do("--cgroup-manager", "disabled", "create", "--bundle", str(ours.bundle), ours.id)
    data = json.loads(ours.do("events", "--stats", ours.id).stdout)["data"]
    assert (data["cpu"], data["memory"], data["pids"]) == ({}, {}, {})
