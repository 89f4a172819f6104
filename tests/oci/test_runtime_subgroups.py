"""`exec --cgroup`: groups below the container's own, of cgroup v1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.oci import Container

V1 = Path("/sys/fs/cgroup")
pytestmark = pytest.mark.skipif(not (V1 / "memory/tasks").exists(), reason="needs cgroup v1")


def place_of(container: Container) -> str:
    """Its path in each hierarchy."""
    return str(container.spec["linux"]["cgroupsPath"]).strip("/")


def test_an_exec_can_be_in_groups_below_of_some_controllers(ours: Container) -> None:
    ours.begin()
    for name, below in (("memory", "part"), ("pids", "part"), ("cpu", "more/still")):
        (V1 / name / place_of(ours) / below).mkdir(parents=True)

    def place(*words: str) -> dict[str, str]:
        options = [option for word in words for option in ("--cgroup", word)]
        rows = ours.do("exec", *options, ours.id, "/bin/cat", "/proc/self/cgroup").stdout.splitlines()
        path = ours.spec["linux"]["cgroupsPath"]
        return {row.split(":")[1]: row.split(":")[2].removeprefix(path) for row in rows if path in row}

    found = place("memory,pids:part", "cpu:/more/still/")
    assert {name: found[name] for name in ("memory", "pids", "devices")} == {
        "memory": "/part",
        "pids": "/part",
        "devices": "",
    }
    assert any("cpu" in names.split(",") and below == "/more/still" for names, below in found.items())
    assert {name: place("part")[name] for name in ("memory", "devices")} == {"memory": "/part", "devices": ""}
    for word in ("none", "memory:more", "nothing:/", "memory:../x"):
        failed = ours.do("exec", "--cgroup", word, ours.id, "/bin/true", check=False)
        assert (failed.returncode, failed.stderr.partition(": ")[0]) == (255, f"--cgroup {word}")
    assert not (V1 / "memory" / place_of(ours) / "more").exists()
