"""Which instances a killed comparison has left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from twinhull.compare import abandoned, probe
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


@pytest.mark.parametrize("title", ["probe", "load"])
def test_an_image_that_a_comparison_made_for_itself_names_its_process(title: str) -> None:
    name = f"docker.io/{probe.image_name(title, {'a': b'x'})}"
    assert abandoned.process_of(name) == str(os.getpid())
    assert abandoned.process_of(image_name()) == str(os.getpid())


@pytest.mark.parametrize(
    "name",
    ["docker.io/twinhull/busybox:latest", "docker.io/twinhull/probe:latest", "ghcr.io/x/twinhull/probe:a-1", "", "a:1"],
)
def test_other_images_name_none(name: str) -> None:
    assert abandoned.process_of(name) == ""


def test_only_directories_of_ended_processes_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    names = [f"{abandoned.SCRATCH}{pid}-move-x" for pid in (ended.pid, os.getpid(), "mine")]
    for name in names:
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / f"{abandoned.SCRATCH}{ended.pid}-link").symlink_to(tmp_path / "other")
    abandoned.remove_directories(str(tmp_path), abandoned.SCRATCH)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_symlink()) == sorted([*names[1:], "other"])
