"""Snapshots of running virtual machines: machines go on from them later, or they are refused. Real QEMU."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import wait_until

COUNTS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
PERSONAL = "hostname; cat /etc/machine-id /sys/class/net/eth0/address; ip -4 addr show eth0 | grep inet; "
PERSONAL += "head -c 9 /dev/urandom | md5sum"


@pytest.fixture
def vm(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    yield home
    home.remove_all()
    for reference in home("snapshot", "ls", "-q", check=True).stdout.split():
        home("snapshot", "rm", reference, check=True)
    assert not list((home.root / "state/snapshots").iterdir())


def counting(vm: Twinhull, *words: str) -> str:
    """Start a virtual machine that counts, and wait until it has begun; return its name."""
    vm("run", "-d", "--name", "counts", "--vm", *words, "busybox", "sh", "-c", COUNTS, timeout_s=120, check=True)
    wait_until(lambda: count(vm, "counts") > 2, "the first numbers")
    return "counts"


def count(vm: Twinhull, name: str) -> int:
    """The last number that one has written."""
    return int(vm("logs", "--tail", "1", name, check=True).stdout or 0)


def files(vm: Twinhull) -> Path:
    """The directory of the only snapshot."""
    (directory,) = (vm.root / "state/snapshots").iterdir()
    return directory


def test_machines_go_on_from_a_snapshot_with_identities_of_their_own(vm: Twinhull) -> None:
    counting(vm, "--hostname", "first")
    vm("exec", "counts", "sh", "-c", "echo kept >/kept", check=True)
    assert vm("snapshot", "counts", "one", check=True).stdout == "counts:one\n"
    last = count(vm, "counts")
    wait_until(lambda: count(vm, "counts") > last + 3, "the original to go on")
    (row,) = vm("snapshot", "ls", "--format", "json", check=True).json()
    assert (row["name"], row["tag"]) == ("counts", "one") and 0 < row["size_bytes"] < 100 << 20
    ours = vm("exec", "counts", "sh", "-c", PERSONAL, check=True).stdout.splitlines()
    vm("rm", "-f", "counts", check=True)
    ids = vm("restore", "-n", "2", "--name", "again", "counts:one", timeout_s=120, check=True).stdout.split()
    assert sorted(vm.names()) == ["again-1", "again-2"]
    wait_until(lambda: all(count(vm, name) > 0 for name in ids), "the copies' first numbers")
    firsts = {int(vm("logs", name, check=True).stdout.split()[0]) for name in ids}
    assert len(firsts) == 1 and 2 < firsts.pop() <= last + 1
    found = [ours, *(vm("exec", name, "sh", "-c", PERSONAL, check=True).stdout.splitlines() for name in ids)]
    for column in zip(*found, strict=False):
        assert len(set(column)) == 3, column
    assert [lines[0] for lines in found] == ["first", *(name[:12] for name in ids)]
    assert vm("exec", "again-2", "cat", "/kept").stdout == "kept\n"


def test_what_lies_in_memory_alone_is_in_it_too(vm: Twinhull) -> None:
    counting(vm, "--rm", "--network", "none")
    vm("exec", "counts", "sh", "-c", "echo kept >/kept", check=True)
    vm("snapshot", "counts", "one", check=True)
    vm("stop", "-t", "0", "counts", check=True)
    (copy,) = vm("restore", "counts:one", check=True).stdout.split()
    assert vm("exec", copy, "cat", "/kept").stdout == "kept\n"


def test_a_snapshot_whose_files_are_others_is_refused(vm: Twinhull) -> None:
    counting(vm, "--network", "none")
    vm("snapshot", "counts", "one", check=True)
    directory = files(vm)
    for name in ("state", "pages", "scratch"):
        path = directory / name
        whole = vm.root / "whole"
        subprocess.run(["cp", "--sparse=always", path, whole], check=True)
        with path.open("r+b") as file:
            file.seek(4000)
            byte = file.read(1)
            file.seek(4000)
            file.write(bytes([byte[0] ^ 1]))
        refused = vm("restore", "counts:one")
        assert refused.exit_code == 125 and f"damaged: {name}" in refused.stderr
        path.unlink()
        assert f"damaged: {name}" in vm("restore", "counts:one").stderr
        subprocess.run(["cp", "--sparse=always", whole, path], check=True)
    assert vm.names() == ["counts"]
    vm("restore", "counts:one", check=True)
    shutil.rmtree(directory)
    assert "damaged" in vm("restore", "counts:one").stderr


def test_a_snapshot_whose_template_is_gone_is_refused_with_the_reason(vm: Twinhull) -> None:
    counting(vm, "--network", "none")
    vm("snapshot", "counts", "one", check=True)
    for row in vm("vm", "template", "ls", "--format", "json", check=True).json():
        vm("vm", "template", "rm", row["key"], check=True)
    assert "template" in vm("restore", "counts:one").stderr
    assert "template" in vm("snapshot", "counts", "two").stderr
    vm("run", "--rm", "--vm", "--network", "none", "busybox", "true", timeout_s=120, check=True)
    assert "template" in vm("restore", "counts:one").stderr, "one of the same name is another's memory"
    vm("fork", "counts", check=True)


def test_names_of_snapshots_are_told_apart(vm: Twinhull) -> None:
    assert "no such snapshot" in vm("restore", "counts:one").stderr
    assert "no such snapshot" in vm("snapshot", "rm", "counts").stderr
    counting(vm, "--network", "none")
    vm("snapshot", "counts", "one", check=True)
    assert "there is a snapshot counts:one" in vm("snapshot", "counts", "one").stderr
    assert "invalid tag" in vm("snapshot", "counts", "a/b").stderr
    vm("rm", "-f", "counts", check=True)
    vm("run", "-d", "--name", "plain", "busybox", "sleep", "1000", check=True)
    assert "is a container" in vm("snapshot", "plain", "one").stderr
    assert vm("snapshot", "ls", "-q").stdout == "counts:one\n"


def test_a_snapshot_that_is_killed_is_whole_or_was_never(vm: Twinhull) -> None:
    counting(vm, "--network", "none")
    for number, moment in enumerate((0.1, 0.2, 0.3)):
        process = vm.popen("snapshot", "counts", f"n{number}", stdout=subprocess.DEVNULL)
        time.sleep(moment)
        process.kill()
        process.wait()
    listed = vm("snapshot", "ls", "-q", check=True).stdout.split()
    assert len(list((vm.root / "state/snapshots").iterdir())) == len(listed)
    seen = count(vm, "counts")
    wait_until(lambda: count(vm, "counts") > seen, "the original to go on")
    for reference in listed:
        vm("restore", reference, check=True)


def test_what_goes_at_the_same_moment_is_said_to_have_gone(vm: Twinhull) -> None:
    counting(vm, "--network", "none")
    for number, moment in enumerate((0.1, 0.15, 0.2, 0.25)):
        words = ("snapshot", "counts", f"n{number}") if number % 2 else ("fork", "counts")
        with vm.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as copying:
            time.sleep(moment)
            vm("kill", "counts")
            said = copying.communicate()[1]
        assert copying.returncode == 0 or any(text in said for text in ("not running", "has ended while it was")), said
        vm("start", "counts", check=True)
    for moment in (0.1, 0.2):
        vm("snapshot", "counts", "kept", check=True)
        with vm.popen("restore", "counts:kept", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as restoring:
            time.sleep(moment)
            removed = vm("snapshot", "rm", "counts:kept")
            said = restoring.communicate()[1]
        assert restoring.returncode == 0 or "no such snapshot: counts:kept" in said, said
        if removed.exit_code:
            assert "is being restored" in removed.stderr
            vm("snapshot", "rm", "counts:kept", check=True)
