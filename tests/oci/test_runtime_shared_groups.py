"""Processes of others in the control group of a container: they are not the container's to end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci import Container
from twinhull.host.facts import read_facts
from twinhull.runtime.oci.record import start_time


@pytest.fixture
def stranger(ours: Container) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host's; the groups that it held go with it."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        clear(ours.spec["linux"]["cgroupsPath"], process.pid)
        process.kill()


def groups_of(path: str) -> list[Path]:
    """The directories of a path in all hierarchies."""
    facts = read_facts()
    return [Path(point + path) for point in dict.fromkeys((facts.cgroup2, *(point for _, point in facts.cgroup1)))]


def enter(path: str, pid: int) -> list[Path]:
    """Make a group in v2 and in v1's memory, and put a process there."""
    made = [group for group in groups_of(path) if "unified" in str(group) or "/memory/" in str(group)]
    for group in made:
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text(str(pid))
    return made


def clear(path: str, pid: int) -> None:
    """Remove a group in all hierarchies."""
    for group in groups_of(path):
        if group.exists():
            Path(group.parent.parent, "cgroup.procs").write_text(str(pid))  # 0: whoever writes
            group.rmdir()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stranger_in_the_group_stays_alive(ours: Container, stranger: subprocess.Popen[bytes], when: str) -> None:
    path = ours.spec["linux"]["cgroupsPath"]
    if when == "before":
        enter(path, stranger.pid)
    ours.begin()
    made = enter(path, stranger.pid)
    first = ours.state()["pid"]
    ours.do("delete", "--force", ours.id)
    assert start_time(first) == 0 and stranger.poll() is None
    assert made and all((group / "cgroup.procs").read_text() == f"{stranger.pid}\n" for group in made)
    assert ours.do("state", ours.id, check=False).returncode == 1


def test_a_create_that_fails_leaves_the_stranger_alone(ours: Container, stranger: subprocess.Popen[bytes]) -> None:
    path = ours.spec["linux"]["cgroupsPath"]
    enter(path, stranger.pid)
    ours.spec["mounts"].append({"destination": "/t", "type": "nosuchfs"})
    assert ours.create(check=False).returncode == 1
    assert stranger.poll() is None


def test_of_two_containers_in_one_group_the_other_goes_on(ours: Container) -> None:
    ours.begin()
    second = f"{ours.id}b"
    ours.do("run", "--detach", "--bundle", str(ours.bundle), second)
    ours.do("delete", "--force", ours.id)
    assert '"status": "running"' in ours.do("state", second).stdout
    ours.do("delete", "--force", second)
    clear(ours.spec["linux"]["cgroupsPath"], 0)


def test_a_group_that_is_frozen_is_refused_at_once(ours: Container) -> None:
    path = ours.spec["linux"]["cgroupsPath"]
    group = groups_of(path)[0]
    group.mkdir(parents=True)
    (group / "cgroup.freeze").write_text("1")
    try:
        done = ours.create(check=False)
        assert done.returncode != 0 and "linux.cgroupsPath" in done.stderr and "busy" in done.stderr
        assert "unexpectedly frozen" in done.stderr
    finally:
        if group.exists():
            (group / "cgroup.freeze").write_text("0")
        ours.do("delete", "--force", ours.id, check=False)
        for each in groups_of(path):
            if each.exists():
                each.rmdir()


def test_a_group_of_anothers_without_processors_gets_those_above_it(container: Container) -> None:
    """A new cpuset of v1 has none, and takes no process; runc fills it likewise, crun its own alone."""
    parent = Path("/sys/fs/cgroup/cpuset/twinhull-test-empty")
    if not (parent.parent / "cpuset.cpus").exists():
        pytest.skip("there is no cpuset hierarchy of cgroup v1")
    if container.runtime == "crun":
        pytest.skip("crun fills the container's own group alone")
    parent.mkdir()
    container.spec["linux"]["cgroupsPath"] = f"/{parent.name}/{container.id}"
    try:
        assert container.output("grep -c cpuset /proc/self/cgroup") == "1\n"
    finally:
        container.remove()
        for group in Path("/sys/fs/cgroup").glob(f"*/{parent.name}"):
            group.rmdir()
