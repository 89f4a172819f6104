"""The pool: several guests wait, starts take them, and they are made again. Real QEMU."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import COMMAND, Twinhull
from tests.support.vm import wait_until
from twinhull.host import locks

RUN = ("run", "-d", "--vm", "--network", "none", "busybox", "sleep", "1000")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    """One state directory for the module, without a guest in waiting but those of a pool."""
    return Twinhull(tmp_path_factory.mktemp("pool"), settings={"vm_spare": False})


@pytest.fixture
def vm(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    home("vm", "warm", timeout_s=120, check=True)
    yield home
    home("vm", "pool", "drain", check=True)
    home.remove_all()


def names(vm: Twinhull) -> set[str]:
    """The guests that wait."""
    folder = vm.root / "state/spares"
    found = folder.iterdir() if folder.exists() else ()
    return {path.name for path in found if locks.is_held(f"{path}/alive")}


def listed(vm: Twinhull) -> dict[str, Any]:
    """The one template's row."""
    (row,) = vm("vm", "pool", "ls", "--format", "json", check=True).json()["templates"]
    return dict(row)


def test_starts_take_what_waits_each_another_and_it_is_made_again(vm: Twinhull) -> None:
    vm("vm", "pool", "set", "3", "--wait", timeout_s=120, check=True)
    waiting = names(vm)
    row = listed(vm)
    assert (len(waiting), row["waiting"], row["wanted"], row["making"]) == (3, 3, 3, False)
    started = [
        subprocess.Popen([COMMAND, *RUN], env=vm.environment(), stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    taken = {process.communicate(timeout=60)[0].strip() for process in started}
    assert taken == waiting
    wait_until(lambda: listed(vm)["waiting"] == 3, "the pool to be full again")
    assert not names(vm) & taken
    identities = {vm("exec", one, "cat", "/proc/sys/kernel/random/uuid", check=True).stdout for one in taken}
    assert len(identities) == 3


def test_a_budget_bounds_it_and_draining_leaves_nothing(vm: Twinhull) -> None:
    vm("vm", "pool", "set", "20", "--wait", timeout_s=120, check=True)
    used = vm("vm", "pool", "ls", "--format", "json", check=True).json()["used_bytes"]
    assert used < 20 * (30 << 20), "30 MB for each are promised"
    vm("vm", "pool", "set", "40", "--memory-budget", str(used), "--wait", timeout_s=120, check=True)
    row = listed(vm)
    assert 8 < row["waiting"] < 40 and row["wanted"] == 40
    few = vm("vm", "pool", "set", "40", "--memory-budget", "6m", "--wait", timeout_s=120, check=True)
    assert "of 40 wait: a budget of" in few.stderr
    assert listed(vm)["waiting"] < row["waiting"]
    vm("vm", "pool", "drain", check=True)
    assert (names(vm), listed(vm)["wanted"]) == (set(), 0)
    vm(*RUN, check=True)
    assert names(vm) == set(), "nobody wants any"


def test_a_pool_whose_holder_was_killed_comes_back_with_the_next_start(vm: Twinhull) -> None:
    vm("vm", "pool", "set", "2", "--wait", timeout_s=120, check=True)
    (template,) = (vm.root / "run/templates").iterdir()
    before = names(vm)
    os.kill(int(Path(template / "holder").read_text()), signal.SIGKILL)
    wait_until(lambda: names(vm) == set(), "the end of the guests that waited")
    vm(*RUN, check=True)
    wait_until(lambda: len(names(vm)) == 2, "the pool to be full again")
    assert not names(vm) & before


def test_it_comes_back_with_the_start_of_what_was_made_before(vm: Twinhull) -> None:
    made = vm("create", *RUN[2:], check=True).stdout.strip()
    vm("vm", "pool", "set", "2", "--wait", timeout_s=120, check=True)
    (template,) = (vm.root / "run/templates").iterdir()
    os.kill(int(Path(template / "holder").read_text()), signal.SIGKILL)
    wait_until(lambda: names(vm) == set(), "the end of the guests that waited")
    vm("start", made, check=True)
    wait_until(lambda: len(names(vm)) == 2, "the pool to be full again")


def test_a_guest_as_large_as_no_machine_is_refused(vm: Twinhull) -> None:
    text = vm.config.read_text()
    try:
        vm.config.write_text(f"{text}vm_memory_bytes = 99999999999999\n")
        refused = vm("run", "--rm", "--vm", "busybox", "true")
    finally:
        vm.config.write_text(text)
    assert (refused.exit_code, "of memory, and a virtual machine cannot" in refused.stderr) == (125, True), refused
    assert "vm_memory_bytes" in refused.stderr


@pytest.mark.parametrize(("words", "text"), [(("65",), "0 to 64"), (("x",), "no number"), ((), "N")])
def test_what_is_no_size_is_refused(vm: Twinhull, words: tuple[str, ...], text: str) -> None:
    refused = vm("vm", "pool", "set", *words)
    assert refused.exit_code == 125 and text in refused.stderr
    assert listed(vm)["wanted"] == 0


def test_templates_that_no_guest_can_wait_for_are_not_listed_and_their_holders_end(vm: Twinhull) -> None:
    other = vm("vm", "warm", "--shares", timeout_s=120, check=True).stdout.strip()
    vm("vm", "pool", "set", "1", "--wait", timeout_s=120, check=True)
    assert (listed(vm)["template"] != other, listed(vm)["wanted"]) == (True, 1)
    holder = vm.root / "run/templates" / other / "holder"
    os.kill(int(holder.read_text()), signal.SIGTERM)
    wait_until(lambda: not locks.is_held(str(holder)), "the holder's end")
    vm("vm", "warm", "--shares", timeout_s=120, check=True)
    words = Path(f"/proc/{int(holder.read_text())}/cmdline").read_text().rstrip("\0").split("\0")
    assert words[-1] == "0", "it ends when it is idle, pool or no pool"
    vm("vm", "template", "rm", other, check=True)
