"""Supplementary groups: those of the specification, or, where crun's annotation says so, those of the caller."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.oci import Container

CALLERS = [7, 100_008]
SHOW = "grep ^Groups /proc/self/status | tr -s '\\t ' ' '"


def run(container: Container, *words: str) -> str:
    """What a command of the runtime prints, called with groups of our own."""
    out = container.scratch / "shown"
    with out.open("w") as stdout:
        subprocess.run(
            container.argv(*words),
            extra_groups=CALLERS,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            check=True,
            timeout=60,
        )
    return out.read_text()


def mapped(container: Container) -> None:
    """Give it a user namespace, and its root; groups without a number there are shown as 65534."""
    container.spec["linux"]["namespaces"].append({"type": "user"})
    container.map_users()


@pytest.mark.parametrize(("users", "shown"), [(False, "Groups: 7 100008"), (True, "Groups: 65534 8")])
def test_the_callers_groups_are_kept_where_the_annotation_says_so(ours: Container, users: bool, shown: str) -> None:
    ours.spec["annotations"] = {"run.oci.keep_original_groups": "1"}
    ours.spec["process"]["user"]["additionalGids"] = [9]
    if users:
        mapped(ours)
    ours.sh(f"{SHOW}; sleep 1000").write()
    run(ours, "run", "--detach", "--bundle", str(ours.bundle), ours.id)
    assert run(ours, "exec", ours.id, "/bin/sh", "-c", SHOW).strip() == shown
    pid = ours.state()["pid"]
    groups = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Groups"))
    assert groups.split()[1:] == ["7", "100008"]


def test_no_group_of_the_callers_is_kept_otherwise(container: Container) -> None:
    container.spec["process"]["user"]["additionalGids"] = [9]
    container.sh(SHOW).write()
    shown = run(container, "run", "--bundle", str(container.bundle), container.id)
    assert set(shown.split()[1:]) <= {"0", "9"} and "9" in shown


def test_a_create_that_fails_leaves_an_empty_group_that_was_there(ours: Container) -> None:
    places = [Path("/sys/fs/cgroup", kind, "twinhull-test", ours.id) for kind in ("unified", "pids")]
    for place in places:
        place.mkdir(parents=True)
    ours.args("/no/such/program")
    assert ours.create(check=False).returncode == 1
    assert all(place.is_dir() for place in places)
    ours.args("/bin/sleep", "1000").create()
    ours.do("delete", "--force", ours.id)
    assert not any(place.exists() for place in places)
