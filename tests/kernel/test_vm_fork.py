"""Copies of a running virtual machine: from the same point, with identities of their own. Real QEMU."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import wait_until
from twinhull.config import Config
from twinhull.engine.engine import Engine
from twinhull.errors import GuestError
from twinhull.runtime import fork as copies
from twinhull.runtime import qmp, scratch

COUNTS = "i=0; while :; do i=$((i+1)); echo $i; echo $i >/number; sleep 0.1; done"
SECRETS = "head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid"


def counting(vm: Twinhull, *words: str) -> str:
    """Start a virtual machine that counts, and wait until it has begun; return its id."""
    identity = vm("run", "-d", "--vm", *words, "busybox", "sh", "-c", COUNTS, timeout_s=120, check=True).stdout.strip()
    wait_until(lambda: count(vm, identity) > 2, "the first numbers")
    return identity


def count(vm: Twinhull, name: str) -> int:
    """The last number that one has written."""
    return int(vm("logs", "--tail", "1", name, check=True).stdout or 0)


def fork(vm: Twinhull, *words: str) -> list[str]:
    """Fork and return the ids of the copies."""
    return vm("fork", *words, timeout_s=120, check=True).stdout.split()


def test_a_copy_counts_on_from_the_same_point_and_so_does_the_original(vm: Twinhull) -> None:
    original = counting(vm, "--network", "none")
    before = count(vm, original)
    (copy,) = fork(vm, original)
    wait_until(lambda: count(vm, copy) > 0, "the copy's first number")
    first = int(vm("logs", copy, check=True).stdout.split()[0])
    assert before < first <= count(vm, original) + 1
    seen = count(vm, copy), count(vm, original)
    wait_until(lambda: count(vm, copy) > seen[0] + 2 and count(vm, original) > seen[1] + 2, "both to go on")
    for name in (copy, original):
        numbers = [int(line) for line in vm("logs", name, check=True).stdout.split()]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "no number is lost or told twice"


def test_names_addresses_and_random_numbers_are_its_own(vm: Twinhull) -> None:
    original = counting(vm, "--hostname", "first")
    (copy,) = fork(vm, "--name", "second", original)
    (row,) = vm("inspect", "second", check=True).json()
    assert row["id"] == copy
    script = (
        f"hostname; cat /etc/hostname /etc/machine-id; cat /sys/class/net/eth0/address; {SECRETS}; ip -4 addr; date +%s"
    )
    ours, theirs = (vm("exec", name, "sh", "-c", script).stdout for name in (original, copy))
    assert theirs.split()[:3] == [copy[:12], copy[:12], copy[:32]]
    assert ours.split()[0] == "first"
    assert abs(int(theirs.split()[-1]) - time.time()) < 5
    addresses = [re.findall(r"inet (10[0-9.]+)", text) for text in (ours, theirs)]
    assert len(addresses[0]) == len(addresses[1]) == 1 and addresses[0] != addresses[1]
    assert not set(ours.splitlines()[2:6]) & set(theirs.splitlines()[2:6])
    reach = (
        "ping -c1 -W5 {} >/dev/null && ping -c1 -W5 $(ip route | awk '/default/{{print $3}}') >/dev/null && echo yes"
    )
    assert vm("exec", copy, "sh", "-c", reach.format(addresses[0][0])).stdout == "yes\n"
    assert vm("exec", original, "sh", "-c", reach.format("second")).stdout == "yes\n"


def test_a_copy_of_one_that_has_moved_to_another_network_is_there_alone(vm: Twinhull) -> None:
    vm("network", "create", "--subnet", "10.146.1.0/24", "other", check=True)
    vm("run", "-d", "--name", "moved", "--vm", "busybox", "sleep", "1000", check=True, timeout_s=120)
    vm("network", "connect", "other", "moved", check=True)
    vm("network", "disconnect", "bridge", "moved", check=True)
    fork(vm, "--name", "copy", "moved")
    vm("exec", "copy", "ping", "-c", "1", "-W", "9", "moved", check=True)
    links = vm("exec", "copy", "ip", "link", check=True).stdout
    up = re.findall(r"(eth\d): <[^>]*\bUP\b", links)
    assert up == ["eth0"], links
    vm("network", "connect", "bridge", "copy", check=True)
    assert "inet 10." in vm("exec", "copy", "ip", "addr", "show", "dev", "eth1", check=True).stdout


def test_several_copies_share_nothing(vm: Twinhull) -> None:
    original = counting(vm, "--rm", "--network", "none")
    copies = fork(vm, "-n", "2", "--name", "copy", original)
    assert {"copy-1", "copy-2"} < set(vm.names())
    found = [vm("exec", name, "sh", "-c", f"hostname; {SECRETS}", check=True).stdout.split() for name in copies]
    assert not set(found[0]) & set(found[1]) - {"-"}
    vm("stop", "-t", "0", *copies, check=True)
    wait_until(lambda: len(vm.names()) == 1, "the end of what was made with --rm")


def test_the_disk_is_copied_with_it(vm: Twinhull) -> None:
    original = counting(vm, "--network", "none")
    vm("exec", original, "sh", "-c", "echo both >/kept", check=True)
    (copy,) = fork(vm, original)
    assert vm("exec", copy, "cat", "/kept").stdout == "both\n"
    vm("exec", copy, "sh", "-c", "echo copy >/kept; sync", check=True)
    vm("exec", original, "sh", "-c", "echo original >/kept; sync", check=True)
    vm("stop", "-t", "0", copy, check=True)
    vm("start", copy, check=True)
    assert vm("exec", copy, "cat", "/kept").stdout == "copy\n"
    assert vm("exec", original, "cat", "/kept").stdout == "original\n"


def test_a_copy_can_be_copied(vm: Twinhull) -> None:
    original = counting(vm, "--network", "none")
    (copy,) = fork(vm, original)
    vm("rm", "-f", original, check=True)
    before = count(vm, copy)
    (second,) = fork(vm, copy)
    wait_until(lambda: count(vm, second) > 0, "the copy's first number")
    assert int(vm("logs", second, check=True).stdout.split()[0]) > before


def test_of_several_copies_all_are_made_or_none(vm: Twinhull) -> None:
    original = counting(vm, "--network", "none")
    vm("create", "--name", "copy-3", "busybox", check=True)
    refused = vm("fork", "-n", "4", "--name", "copy", original, timeout_s=120)
    assert refused.exit_code == 125 and "copy-3" in refused.stderr and not refused.stdout, refused
    assert len(vm("ps", "-aq", check=True).stdout.split()) == 2
    process = vm.popen("fork", "-n", "9", "--name", "other", original, stdout=subprocess.DEVNULL)
    wait_until(lambda: "other-2" in vm("ps", "-a", check=True).stdout, "the second copy")
    process.terminate()
    assert process.wait(60) == 143
    assert len(vm("ps", "-aq", check=True).stdout.split()) == 2
    many = vm("fork", "-n", "999", original)
    assert many.exit_code == 125 and "999 copies" in many.stderr and "-n 1 to 64" in many.stderr, many


def test_what_is_attached_and_executed_goes_on_in_the_original_alone(vm: Twinhull) -> None:
    process = vm.popen(
        "run", "-i", "--name", "talks", "--vm", "--network", "none", "busybox", "cat", stdin=-1, stdout=-1
    )
    assert process.stdin and process.stdout
    process.stdin.write("before\n")
    process.stdin.flush()
    assert process.stdout.readline() == "before\n"
    shell = vm.popen("exec", "-i", "talks", "sh", stdin=-1, stdout=-1)
    assert shell.stdin and shell.stdout
    shell.stdin.write("echo here\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "here\n"
    (copy,) = fork(vm, "talks")
    assert vm("wait", copy).stdout == "0\n", "its cat has nobody who feeds it"
    assert vm("logs", copy).stdout == ""
    shell.stdin.write("echo still\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "still\n"
    assert shell.communicate(timeout=30)[0] == ""
    assert process.communicate("after\n", timeout=30)[0] == "after\n"


def test_one_with_a_terminal_can_be_copied(vm: Twinhull) -> None:
    vm("run", "-dit", "--name", "shell", "--vm", "--network", "none", "busybox", "sh", timeout_s=120, check=True)
    (copy,) = fork(vm, "shell")
    assert vm("exec", copy, "sh", "-c", "ps | grep -c '[s]h$'").stdout.strip() == "1"
    assert [row["status"] for row in vm("ps", "--format", "json").json()] == ["running", "running"]


def test_what_cannot_be_copied_is_refused_with_the_reason(vm: Twinhull) -> None:
    vm("run", "-d", "--name", "container", "busybox", "sleep", "1000", check=True)
    refused = vm("fork", "container")
    assert refused.exit_code == 125 and "is a container" in refused.stderr and "--vm" in refused.stderr
    assert "no such workload" in vm("fork", "nobody").stderr
    vm("run", "-d", "--name", "volumes", "--vm", "-v", "/usr/share:/share", "busybox", "sleep", "1000", timeout_s=120)
    assert "volume" in vm("fork", "volumes").stderr
    vm("run", "-d", "--no-template", "--name", "booted", "--vm", "busybox", "sleep", "1000", timeout_s=120, check=True)
    refused = vm("fork", "booted")
    assert refused.exit_code == 125 and "it was booted" in refused.stderr
    vm("pause", "booted", check=True)
    assert "is paused" in vm("fork", "booted").stderr
    assert len(vm.names()) == 3


def test_a_name_in_use_leaves_nothing_of_the_copy(vm: Twinhull) -> None:
    original = counting(vm, "--name", "taken")
    refused = vm("fork", "--name", "taken", original)
    assert refused.exit_code == 125 and "taken" in refused.stderr
    assert vm.names() == ["taken"]
    assert [path.name for path in (vm.root / "state/instances").iterdir()] == [original]
    seen = count(vm, original)
    wait_until(lambda: count(vm, original) > seen, "the original to go on")


@pytest.mark.parametrize("moment", [0.1, 0.2, 0.4])
def test_a_fork_that_is_killed_leaves_a_copy_or_nothing_and_the_original_goes_on(vm: Twinhull, moment: float) -> None:
    original = counting(vm)
    process = vm.popen("fork", "--name", "copy", original, stdout=subprocess.DEVNULL)
    time.sleep(moment)
    process.kill()
    process.wait()
    names = vm.names()
    seen = count(vm, original)
    wait_until(lambda: count(vm, original) > seen, "the original to go on")
    assert len(list((vm.root / "state/instances").iterdir())) == len(names)
    assert not list((vm.root / "run/held").iterdir())


def test_an_original_that_was_left_stopped_goes_on_with_the_next_command(vm: Twinhull) -> None:
    original = counting(vm, "--network", "none")
    config = Config(state=str(vm.root / "state"), run=str(vm.root / "run"))
    child = os.fork()
    if not child:
        with copies.stopped(config, original, config.instance(original)):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    seen = (Path(config.instance(original)) / "log").read_bytes()
    time.sleep(0.5)
    assert (Path(config.instance(original)) / "log").read_bytes() == seen
    vm("ps", check=True)
    wait_until(lambda: (Path(config.instance(original)) / "log").read_bytes() != seen, "the original to go on")


def test_it_stands_still_for_less_than_a_full_save_takes(vm: Twinhull, capsys: pytest.CaptureFixture[str]) -> None:
    """Side by side: the pages of its own and the devices; against all of its copy, by QEMU's migration to a file.

    A machine is saved as a whole once only: the second time its template's pages are mapped already.
    """
    started = vm("run", "-d", "--vm", "--network", "none", "busybox", "sleep", "1000", timeout_s=120, check=True)
    config = Config(state=str(vm.root / "state"), run=str(vm.root / "run"), vm_spare=False)
    forks, fulls = [], []
    with Engine(config) as engine:
        for _ in range(3):
            made = engine.live.fork(started.stdout.strip())
            forks.append(made.times.held_s)
            fulls.append(full_save(config, made.copies[0].id, vm.root / "full"))
            engine.remove(made.copies[0].id, force=True)
    with capsys.disabled():
        print(f"\nstands still for {in_ms(forks)} ms, {made.times.memory_bytes >> 10} KiB; full save {in_ms(fulls)} ms")
    assert min(forks) <= 0.6 * min(fulls)


def in_ms(times: list[float]) -> list[int]:
    return [round(each * 1000) for each in times]


def full_save(config: Config, identity: str, path: Path) -> float:
    """Save all of a machine as QEMU does, and its disk; return the seconds for which that takes it."""
    directory = config.instance(identity)
    monitor = None
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
    began = time.monotonic()
    try:
        with copies.held(directory):
            monitor = qmp.connect(directory, 30.0)
            monitor.execute("stop")
            monitor.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
            monitor.execute("migrate-set-parameters", max_bandwidth=1 << 40)
            monitor.give("full", file)
            monitor.execute("migrate", uri="fd:full")
            monitor.wait_for("MIGRATION", lambda data: data.get("status") == "completed")
            scratch.copy_sparse(f"{directory}/scratch", f"{path}.disk")
            took = time.monotonic() - began
            wait_until(lambda: goes_on(monitor), "the end of the migration")
        return took
    finally:
        os.close(file)
        if monitor:
            monitor.close()


def goes_on(monitor: qmp.Monitor) -> bool:
    """Let a machine go on; it cannot before QEMU has finished."""
    try:
        monitor.execute("cont")
        return True
    except GuestError:
        return False


def test_a_copy_on_a_network_with_ipv6_has_addresses_of_its_own(vm: Twinhull) -> None:
    vm("network", "create", "--ipv6", "six", check=True)
    words = ("run", "-d", "--vm", "--name", "first", "--network", "six", "busybox", "sleep", "1000")
    first = vm(*words, check=True).stdout.strip()
    copy = vm("fork", "first", check=True).stdout.strip()
    rows = [vm("inspect", name, check=True).json()[0]["networks"][0] for name in (first, copy)]
    assert len({row["address6"] for row in rows}) == 2
    script = "ip -6 addr show eth0 scope global | grep -c inet6; ip -6 route | grep -c default; ping -6 -c1 -W9 $0"
    for name, row in ((first, rows[1]), (copy, rows[0])):
        done = vm("exec", name, "sh", "-c", script, row["address6"], check=True).stdout.splitlines()
        assert done[:2] == ["1", "1"]
