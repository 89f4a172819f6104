"""The set-up says what is missing and how to get it, and does nothing where nothing is to be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As much of the project as the set-up looks at, in a place with a space in its name."""
    path = tmp_path / "a tree"
    (path / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/setup", path / "scripts/setup")
    shutil.copy(ROOT / "requirements-dev.txt", path)
    (path / "scripts/packages.tsv").write_text("# comment\nsh\trun\tsh\tis always there\n")
    shutil.copytree(ROOT / "src/twinhull", path / "src/twinhull", ignore=shutil.ignore_patterns("bin", "__pycache__"))
    return path


def setup(tree: Path, *words: str, uid: int = 1000) -> subprocess.CompletedProcess[str]:
    """Run it as somebody: the user's number is what `id` says."""
    programs = tree / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "id").write_text(f"#!/bin/sh\necho {uid}\n")
    (programs / "id").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    script = str(tree / "scripts/setup")
    return subprocess.run(["sh", script, *words], env=environment, capture_output=True, text=True, check=False)


def test_without_root_it_prints_the_one_command(tree: Path) -> None:
    table = tree / "scripts/packages.tsv"
    table.write_text(table.read_text() + "one\trun\tno-such-tool\tfirst reason\ntwo\trun\t/no/such/*\tsecond reason\n")
    done = setup(tree)
    assert done.returncode == 1
    assert "sudo apt-get install --no-install-recommends --yes one two\n" in done.stderr
    assert "one: first reason" in done.stdout
    assert "two: second reason" in done.stdout


@pytest.mark.slow
def test_packages_for_tests_are_not_asked_of_users(tree: Path) -> None:
    table = tree / "scripts/packages.tsv"
    table.write_text(table.read_text() + "three\ttest\tno-such-tool\tonly to test\n")
    assert setup(tree).returncode == 0
    assert "three" in setup(tree, "dev").stderr


@pytest.mark.slow
def test_the_command_works_from_a_place_with_a_space(tree: Path) -> None:
    assert setup(tree).returncode == 0
    entry = tree / ".venv/bin/twinhull"
    assert entry.read_text().splitlines()[0].endswith(" -IS")
    shown = subprocess.run([entry, "--help"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("usage: twinhull")


def test_the_second_time_takes_no_time_and_says_nothing(tree: Path) -> None:
    setup(tree)
    start = time.monotonic()
    done = setup(tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - start < 1.0


@pytest.mark.slow
def test_a_tree_that_was_moved_is_set_up_again(tree: Path) -> None:
    setup(tree)
    moved = tree.rename(tree.with_name("moved"))
    setup(moved)
    assert str(moved) in (moved / ".venv/bin/twinhull").read_text()


def test_every_package_of_the_table_says_how_it_is_seen() -> None:
    for line in (ROOT / "scripts/packages.tsv").read_text().splitlines():
        if not line.startswith("#"):
            name, when, how, why = line.split("\t")
            assert name
            assert when in (
                "run",
                "extras",
                "debian",
                "conformance",
                "kernel",
                "compile",
                "arm64",
                "rootless",
                "test",
                "bench",
                "fuzz",
            )
            assert how
            assert why
