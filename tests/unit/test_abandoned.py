"""Which instances a killed comparison has left."""

from __future__ import annotations

import os
import subprocess

from twinhull.compare.abandoned import LABEL, container_prefix, image_name, is_abandoned, label, leavings


def test_what_a_comparison_that_runs_has_started_is_its_own() -> None:
    assert label() == (LABEL, str(os.getpid()))
    assert not is_abandoned([label()])


def test_what_is_left_of_one_that_has_ended_is_nobodys() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    assert is_abandoned([("other", "label"), (LABEL, str(ended.pid))])


def test_instances_of_others_are_never_touched() -> None:
    assert not is_abandoned([])
    assert not is_abandoned([("com.example.compare", "1"), ("name", "compare-999999999-container-1")])


def test_only_names_of_ended_comparisons_are_leavings() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    of_ended = f"twinhull-compare-{ended.pid}-podman-1"
    others = [f"{container_prefix('podman')}-1", "twinhull-compare-mine-1", f"my-{of_ended}", f"{ended.pid}-x", ""]
    image = f"localhost/twinhull-compare:{ended.pid}"
    other_images = [image_name(), "localhost/twinhull-compare:latest", f"localhost/x/twinhull-compare:{ended.pid}"]
    assert leavings([of_ended, *others], [*other_images, image]) == ([of_ended], [image])
