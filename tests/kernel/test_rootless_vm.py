"""Virtual machines of a user without root: QEMU in its jail, in the user's own namespaces."""

from __future__ import annotations

import os

import pytest

from tests.kernel.test_rootless_network import fetch, serving, users_processes, words_of
from tests.support.answers import free_port
from tests.support.rootless import Rootless
from tests.support.vm import status, wait_until

START_S = 240


@pytest.fixture
def machine(rootless: Rootless) -> Rootless:
    """The user, with a template of a guest."""
    rootless.take_kernels()
    rootless("vm", "warm", timeout_s=START_S, check=True)
    return rootless


def test_a_guest_runs_with_a_kernel_of_its_own_a_network_and_a_port(machine: Rootless) -> None:
    port = free_port()
    serving(machine, "web", "--vm", "-p", f"{port}:80")
    assert machine("exec", "web", "uname", "-r", check=True).stdout.strip() != os.uname().release
    wait_until(lambda: fetch(port) == "web", "an answer")
    done = machine("run", "--rm", "busybox", "wget", "-qO-", "http://web/", check=True)
    assert done.stdout == "web\n"
    (row,) = machine("ps", "--format", "json", check=True).json()
    assert row["isolation"] == "vm"
    assert "httpd" in machine("top", "web", check=True).stdout
    machine("stop", "-t", "0", "web", check=True)
    assert fetch(port) == ""
    assert [pid for pid in users_processes(machine) if "qemu" in words_of(pid)[0]] == []


def test_its_qemu_is_neither_root_nor_the_user(machine: Rootless) -> None:
    machine("run", "-d", "--vm", "--name", "box", "--network", "none", "busybox", "sleep", "100", check=True)
    namespace = os.readlink(f"/proc/{machine.keeper}/ns/user")
    mine = [pid for pid in qemus() if os.readlink(f"/proc/{pid}/ns/user") == namespace]
    working = [pid for pid in mine if int(status(pid, "Uid").split()[0]) not in (0, machine.account.pw_uid)]
    assert working
    for pid in mine:
        assert int(status(pid, "CapEff"), 16) == 0


def qemus() -> list[int]:
    """Every QEMU of this machine."""
    found = []
    for number in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if "qemu" in words_of(int(number))[0]:
                found.append(int(number))
        except OSError:
            continue
    return found


def test_it_writes_to_what_is_the_users_and_ends_with_its_programs_status(machine: Rootless) -> None:
    shown = machine.home / "shown"
    shown.mkdir()
    os.chown(shown, machine.account.pw_uid, machine.account.pw_gid)
    script = "touch /v/new; cat /sys/fs/cgroup/memory.max; exit 9"
    flags = ("--rm", "--vm", "-m", "128m", "-v", f"{shown}:/v")
    done = machine("run", *flags, "busybox", "sh", "-c", script, timeout_s=START_S)
    assert (done.exit_code, done.stdout) == (9, f"{128 << 20}\n"), done.stderr
    assert (shown / "new").stat().st_uid == machine.account.pw_uid


def test_it_joins_and_leaves_networks_while_it_runs(machine: Rootless) -> None:
    serving(machine, "web", "--vm")
    machine("network", "create", "back", check=True)
    machine("network", "connect", "back", "web", check=True)
    words = ("run", "--rm", "--network", "back", "busybox", "timeout", "9", "wget", "-qO-", "http://web/")
    assert machine(*words, check=True).stdout == "web\n"
    machine("network", "disconnect", "bridge", "web", check=True)
    assert machine(*words, check=True).stdout == "web\n"
    machine("network", "disconnect", "back", "web", check=True)
    assert machine(*words).exit_code != 0


def test_it_changes_sides(machine: Rootless) -> None:
    machine("run", "-d", "--vm", "--name", "box", "busybox", "sleep", "100", check=True)
    machine("exec", "box", "touch", "/here", check=True)
    machine("switch", "--to", "container", "box", timeout_s=START_S, check=True)
    assert machine("exec", "box", "ls", "/here", check=True).stdout == "/here\n"


def test_what_needs_a_group_says_so(machine: Rootless) -> None:
    machine("run", "-d", "--vm", "--name", "box", "--network", "none", "busybox", "sleep", "100", check=True)
    for words in ("snapshot box one", "fork box", "pause box"):
        done = machine(*words.split())
        assert done.exit_code != 0, words
        assert "group" in done.stderr
