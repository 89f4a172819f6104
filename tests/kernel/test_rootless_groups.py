"""Control groups of a user without root: those below a group that is delegated to him."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rootless import Rootless
from tests.support.vm import wait_until
from twinhull.host.facts import read_facts

DELEGATED = ("", "cgroup.procs", "cgroup.subtree_control")


@pytest.fixture
def group(account: str, root: Path) -> Iterator[Path]:
    """A v2 group of this machine."""
    path = Path(read_facts().cgroup2) / f"twinhull-test-{os.getpid()}"
    (path / "own").mkdir(parents=True)
    yield path
    wait_until(lambda: "populated 0" in (path / "cgroup.events").read_text(), "its end")
    for directory, names, _ in os.walk(path, topdown=False):
        for name in names:
            (Path(directory) / name).rmdir()
    path.rmdir()


@pytest.fixture
def delegate(group: Path, rootless: Rootless) -> Rootless:
    """The user, whose commands run in a group below one that was given to him."""
    for directory in (group, group / "own"):
        rootless.give(*(directory / name for name in DELEGATED))
    rootless.command = run_in(group / "own", rootless)
    return rootless


def run_in(group: Path, rootless: Rootless) -> tuple[str, ...]:
    """The command, in a group."""
    script = f'echo $$ >{group}/cgroup.procs; exec "$@"'
    return ("sh", "-e", "-c", script, "sh", *rootless.command)


def test_each_workload_has_a_group_below_the_users(delegate: Rootless, group: Path) -> None:
    delegate(*"run -d --name web --network none busybox sleep 60".split(), check=True)
    (own,) = (group / "twinhull").glob("*/")
    assert len((own / "cgroup.procs").read_text().split()) == 1
    assert "sleep" in delegate("top", "web", check=True).stdout
    assert "web" in delegate("stats", "--no-stream", "web", check=True).stdout
    delegate("pause", "web", check=True)
    assert (own / "cgroup.freeze").read_text() == "1\n"
    assert delegate("ps", "--format", "json", check=True).json()[0]["status"] == "paused"
    delegate("unpause", "web", check=True)
    assert delegate("exec", "web", "cat", "/proc/self/cgroup", check=True).stdout.splitlines()[-1] == "0::/"
    delegate("rm", "-f", "web", check=True)
    assert list((group / "twinhull").glob("*/")) == []


def test_a_limit_is_held_or_refused(delegate: Rootless, group: Path) -> None:
    words = "run --rm --network none --memory 64m --pids-limit 30 busybox cat".split()
    done = delegate(*words, "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max")
    if {"memory", "pids"} <= set((group / "cgroup.controllers").read_text().split()):
        assert (done.exit_code, done.stdout) == (0, f"{64 << 20}\n30\n"), done.stderr
    else:
        assert (done.exit_code, "this machine cannot limit memory" in done.stderr) == (125, True)


def test_a_group_with_processes_of_its_own_limits_none_and_says_so(delegate: Rootless, group: Path) -> None:
    if "pids" not in (group / "cgroup.controllers").read_text().split():
        pytest.skip("the groups of this machine cannot limit processes")
    with subprocess.Popen(["sleep", "300"]) as resident:
        (group / "cgroup.procs").write_text(f"{resident.pid}\n")
        done = delegate(*"run --rm --network none --pids-limit 30 busybox true".split())
        resident.kill()
    assert (done.exit_code, "delegated to you has processes" in done.stderr) == (125, True)


def test_a_command_outside_of_the_group_is_told_where_it_belongs(delegate: Rootless, group: Path) -> None:
    delegate("ps", check=True)
    delegate.command = delegate.command[delegate.command.index("unshare") :]
    done = delegate(*"run --rm --network none busybox true".split())
    assert done.exit_code == 125
    assert f"below /{group.name}, and this command runs in /" in done.stderr
    assert "systemd-run --user --scope" in done.stderr
