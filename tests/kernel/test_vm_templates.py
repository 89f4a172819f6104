"""`vm warm` and `vm template`: templates made ahead, shown with what they cost, deleted under running guests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Result, Twinhull
from tests.support.vm import wait_until
from twinhull.host import locks

pytestmark = pytest.mark.own_templates

RUN = ("run", "--rm", "--vm", "--network", "none", "busybox")


@pytest.fixture
def vm(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """With one template, and its memory held."""
    home("vm", "warm", timeout_s=120, check=True)
    yield home
    home.remove_all()


def listed(vm: Twinhull) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = vm("vm", "template", "ls", "--format", "json", check=True).json()
    return rows


def test_a_start_after_warm_makes_no_template(vm: Twinhull) -> None:
    (row,) = listed(vm)
    done = vm(*RUN, "echo", "hi")
    assert (done.exit_code, done.stdout) == (0, "hi\n") and "template" not in done.stderr
    assert [(other["key"], other["created"]) for other in listed(vm)] == [(row["key"], row["created"])]


def test_warm_says_the_name_of_what_is_there(vm: Twinhull) -> None:
    (row,) = listed(vm)
    assert vm("vm", "warm", check=True) == Result(0, row["key"] + "\n", "")
    assert vm("vm", "warm", "--format", "json", check=True).json()["key"] == row["key"]


def test_the_list_says_what_a_template_costs(vm: Twinhull) -> None:
    (row,) = listed(vm)
    directory = vm.root / "state/templates" / row["key"]
    blocks = sum(path.stat().st_blocks for path in directory.iterdir()) * 512
    assert abs(row["disk_bytes"] - blocks) <= 1 << 16
    assert 0 < row["held_bytes"] <= row["disk_bytes"]
    assert Path(f"/proc/{row['holder']}/comm").read_text().strip() == "twinhull-hold"
    assert (row["cpus"], row["memory_bytes"], row["shares"]) == (1, 256 << 20, False)
    table = vm("vm", "template", "ls", check=True).stdout.splitlines()
    assert table[0].split()[:2] == ["NAME", "KERNEL"]
    assert table[1].startswith(row["key"][:12]) and row["kernel"] in table[1]
    assert vm("vm", "template", "ls", "-q", check=True).stdout == row["key"] + "\n"


def test_a_start_counts_as_use(vm: Twinhull) -> None:
    (row,) = listed(vm)
    memory = vm.root / "state/templates" / row["key"] / "memory"
    os.utime(memory, (0, 0))
    assert listed(vm)[0]["used"] == row["created"]
    vm(*RUN, "true", check=True)
    assert time.time() - datetime.fromisoformat(listed(vm)[0]["used"]).timestamp() < 60


def test_the_limits_of_a_workload_decide_which_template_is_made(vm: Twinhull) -> None:
    (first,) = listed(vm)
    other = vm("vm", "warm", "--shares", timeout_s=120, check=True).stdout.strip()
    assert {row["key"]: row["shares"] for row in listed(vm)} == {first["key"]: False, other: True}
    done = vm("run", "--rm", "--vm", "-v", "/usr/share:/x:ro", "busybox", "ls", "-d", "/x", timeout_s=60)
    assert done == Result(0, "/x\n", "")
    vm("vm", "template", "rm", other, check=True)


def test_a_template_that_is_deleted_goes_on_in_the_guests_that_came_from_it(vm: Twinhull) -> None:
    (row,) = listed(vm)
    name = vm("run", "-d", "--vm", "--network", "none", "busybox", "sleep", "1000", check=True).stdout.strip()
    assert vm("vm", "template", "rm", row["key"][:6], check=True).stdout == row["key"][:6] + "\n"
    assert listed(vm) == []
    held = vm.root / "run/templates" / row["key"] / "holder"
    wait_until(lambda: not locks.is_held(str(held)), "the end of the holder")
    assert vm("exec", name, "cat", "/proc/uptime").exit_code == 0
    assert vm(*RUN, "echo", "hi", timeout_s=120).stdout == "hi\n"
    assert [other["key"] for other in listed(vm)] == [row["key"]]


def test_a_file_in_the_place_of_a_template_gives_way(vm: Twinhull) -> None:
    (row,) = listed(vm)
    vm("vm", "template", "rm", row["key"], check=True)
    places = [vm.root / "state/templates" / name for name in (row["key"], "0" * len(row["key"]))]
    for place in places:
        place.write_text("x")
    done = vm(*RUN, "echo", "hi", timeout_s=120)
    assert (done.stdout, done.exit_code) == ("hi\n", 0), done.stderr
    assert [other["key"] for other in listed(vm)] == [row["key"]]
    assert not places[1].exists()


def test_what_is_not_there_is_said(vm: Twinhull) -> None:
    done = vm("vm", "template", "rm", "nosuch")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no template nosuch" in done.stderr and "vm template ls" in done.stderr


def test_where_nothing_starts_from_templates_none_is_made(tmp_path: Path, nothing_is_left_behind: None) -> None:
    twinhull = Twinhull(tmp_path, settings={"vm_template": False})
    done = twinhull("vm", "warm")
    assert done.exit_code == 125 and "vm_template = false" in done.stderr
    assert twinhull("vm", "template", "ls", "--format", "json", check=True).json() == []


def test_a_start_can_do_without(tmp_path: Path, nothing_is_left_behind: None) -> None:
    twinhull = Twinhull(tmp_path)
    done = twinhull("run", "--rm", "--vm", "--no-template", "--network", "none", "busybox", "echo", "hi", timeout_s=120)
    assert done.stdout == "hi\n"
    assert twinhull("vm", "template", "ls", "--format", "json", check=True).json() == []
    refused = twinhull("run", "--rm", "--isolation", "container", "--no-template", "busybox", "true")
    assert refused.exit_code == 125 and "no kernel to boot" in refused.stderr
