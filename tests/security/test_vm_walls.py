"""Between guests, and between a guest and the host: memory, identity, QEMU's surroundings, and what we say of them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.conftest import Box
from tests.support.command import remove_network
from tests.support.vm import Machine, machine
from twinhull.host.stack import accelerator_of
from twinhull.plan.jail import SHARE_CAPABILITIES

FALLOC_FL_PUNCH_HOLE_KEEP_SIZE = 3
SPOILED_MB = 48

pytestmark = pytest.mark.parametrize("box", ["vm"], indirect=True)


@pytest.fixture
def qemu(box: Box) -> Machine:
    return machine(box.twinhull, box.identity)


@pytest.fixture
def memory(qemu: Machine) -> Iterator[int]:
    """The template's memory as QEMU has it, opened to write as root."""
    names = os.listdir(f"/proc/{qemu.qemu}/fd")
    number = next(name for name in names if "memfd:template" in os.readlink(f"/proc/{qemu.qemu}/fd/{name}"))
    fd = os.open(f"/proc/{qemu.qemu}/fd/{number}", os.O_RDWR)
    yield fd
    os.close(fd)


def digest(memory: int) -> str:
    found = hashlib.sha1(usedforsecurity=False)
    for offset in range(0, os.fstat(memory).st_size, 1 << 22):
        found.update(os.pread(memory, 1 << 22, offset))
    return found.hexdigest()


def test_the_memory_that_guests_start_from_takes_no_write_no_hole_and_no_new_size(memory: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    offsets = (ctypes.c_int64(0), ctypes.c_int64(4096))
    assert libc.fallocate(memory, FALLOC_FL_PUNCH_HOLE_KEEP_SIZE, *offsets) == -1
    assert ctypes.get_errno() == errno.EPERM
    with pytest.raises(PermissionError):
        os.pwrite(memory, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, 0)


def test_a_guest_that_fills_and_gives_back_its_memory_changes_nobody_elses(box: Box, memory: int) -> None:
    """Discarded pages of one guest must not become holes in what the others map."""
    before = digest(memory)
    assert box.exec("/attack/attack", "spoil", str(SPOILED_MB), check=True).stdout == "spoiled\n"
    box.sh("dd if=/dev/zero of=/dev/shm/fill bs=1M count=32 2>/dev/null; rm /dev/shm/fill")
    assert digest(memory) == before
    assert box.run("busybox", "echo", "still whole").stdout == "still whole\n"


def test_clones_of_a_template_have_nothing_secret_or_personal_in_common(box: Box) -> None:
    script = """head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id
        hostname; cat /sys/class/net/eth0/address; cat /etc/machine-id 2>/dev/null; date +%s"""
    words = ("run", "--rm", "--vm", "-v", f"{box.shared}:/shared", "busybox", "sh", "-c", script)
    seen, times = [], []
    try:
        for _ in range(2):
            lines = box.twinhull(*words, check=True, timeout_s=120).stdout.splitlines()
            times.append(time.time() - int(lines.pop()))
            seen.append(lines)
    finally:
        box.twinhull.names()  # gives the addresses back
        remove_network(box.twinhull.root)
    same = [pair for pair in zip(*seen, strict=True) if pair[0] == pair[1]]
    assert same == []
    assert all(-2 < late < 10 for late in times), "the clock is the host's"


def test_qemu_has_no_network_but_its_taps(qemu: Machine) -> None:
    links = json.loads(beside(qemu, "ip", "-j", "addr"))
    assert {link["ifname"] for link in links} <= {"lo", "tap0", "tap1"}
    assert [address for link in links for address in link["addr_info"] if address["scope"] == "global"] == []
    assert leads_nowhere(qemu, "tap1")


def test_a_card_in_reserve_leads_nowhere_before_and_after_a_network_is_joined(box: Box) -> None:
    words = ("run", "-d", "--name", "reserve", "--vm", "--cap-add", "NET_ADMIN", "-v", f"{box.shared}:/shared")
    try:
        identity = box.twinhull(*words, "busybox", "sleep", "1000", check=True, timeout_s=120).stdout.strip()
        box.twinhull("exec", "reserve", "ip", "link", "set", "eth1", "up", check=True)
        own = machine(box.twinhull, identity)
        assert leads_nowhere(own, "tap1") and not leads_nowhere(own, "tap0")
        box.twinhull("network", "create", "--subnet", "10.147.1.0/24", "joined", check=True)
        box.twinhull("network", "connect", "joined", "reserve", check=True)
        assert not leads_nowhere(own, "tap1")
        box.twinhull("network", "disconnect", "joined", "reserve", check=True)
        box.twinhull("exec", "reserve", "ip", "link", "set", "eth1", "up", check=True)
        assert leads_nowhere(own, "tap1") and not leads_nowhere(own, "tap0")
        assert "UP" not in json.loads(beside(own, "ip", "-j", "link", "show", "dev", "tap1"))[0]["flags"]
    finally:
        box.twinhull("rm", "--force", "reserve")
        remove_network(box.twinhull.root)


def beside(qemu: Machine, *command: str) -> str:
    """What a command says in the network namespace of a QEMU."""
    words = ("nsenter", "-t", str(qemu.qemu), "-n", *command)
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def leads_nowhere(qemu: Machine, tap: str) -> bool:
    """True of a tap whose frames no filter and no bridge sends anywhere, beside no address and no route."""
    (link,) = json.loads(beside(qemu, "ip", "-j", "link", "show", "dev", tap))
    routes = beside(qemu, "ip", "-4", "route", "show", "table", "all")
    return "master" not in link and "ingress" not in beside(qemu, "tc", "qdisc", "show", "dev", tap) and not routes


def test_qemu_leaves_no_core_and_shares_only_what_was_asked_for(box: Box, qemu: Machine) -> None:
    """CVE-2020-35517: the server of shared directories sees nothing else of the host."""
    limits = Path(f"/proc/{qemu.qemu}/limits").read_text().splitlines()
    (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
    assert core == ["0", "0"]
    mounts = [line.split() for line in Path(f"/proc/{qemu.qemu}/mounts").read_text().splitlines()]
    assert [mount[1] for mount in mounts] == ["/", "/proc", "/shares", "/shares/volume0", "/shares/volume1"]
    for mount in mounts[2:]:
        assert {"nosuid", "nodev"} <= set(mount[3].split(",")), mount
    assert mounts[3][3].startswith("ro")
    assert mounts[2][3].startswith("ro") and "nr_inodes=3" in mounts[2][3].split(",")
    status = Path(f"/proc/{qemu.qemu}/status").read_text()
    (held,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd")]
    assert held == SHARE_CAPABILITIES, "without a volume: none"


def test_nothing_can_be_made_in_the_root_of_the_share(qemu: Machine) -> None:
    """Root of a guest can bind the driver of the share anew and mount its root, which is a tmpfs of the host."""
    root = f"/proc/{qemu.qemu}/root/shares"
    with pytest.raises(OSError, match="Read-only file system"):
        os.mkdir(f"{root}/directory")
    with pytest.raises(OSError, match="Read-only file system"):
        Path(f"{root}/file").write_bytes(b"x")
    assert os.statvfs(root).f_files == len(os.listdir(root)) + 1, "no inode but those of the mount points"
    Path(f"{root}/volume1/mine").write_bytes(b"")
    os.unlink(f"{root}/volume1/mine")


def test_a_limit_of_memory_is_one_of_the_whole_qemu_on_the_host(box: Box) -> None:
    words = ("run", "-d", "--name", "bounded", "--memory", "64m", *box.words, "busybox", "sleep", "1000")
    identity = box.twinhull(*words, check=True, timeout_s=120).stdout.strip()
    try:
        pid = machine(box.twinhull, identity).qemu
        found = [int(text) for text in limits_of(pid) if text != "max"]
        assert found and min(found) < 1 << 30
    finally:
        box.twinhull("rm", "-f", "bounded")


def limits_of(pid: int) -> Iterator[str]:
    """The memory limit of a process's cgroup, by either version."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        places = {"memory": "memory/{}/memory.limit_in_bytes", "": "unified/{0}/memory.max"}
        if controllers in places:
            for top in ("/sys/fs/cgroup/" + places[controllers], "/sys/fs/cgroup/{}/memory.max"):
                file = Path(top.format(path.strip("/")))
                if file.exists():
                    yield file.read_text().strip()


def test_a_guest_under_tcg_is_never_reported_as_a_wall(box: Box, qemu: Machine) -> None:
    if accelerator_of(qemu.qemu) != "tcg":
        pytest.skip("guests run under KVM here")
    (inspected,) = box.twinhull("inspect", "vm", check=True).json()
    assert inspected["accelerator"] == "tcg"
    assert inspected["wall"] == "none (TCG)"
    assert "not a security boundary" in inspected["wall_promised_by"]
    layers = box.twinhull("stack", "vm", check=True).stdout
    assert "not a security boundary" in layers
    doctor = box.twinhull("doctor", timeout_s=120).stdout
    assert "no security wall" in doctor
    for text in (json.dumps(inspected), layers, doctor):
        assert "strong" not in text.lower()


def test_auto_does_not_choose_a_guest_under_tcg_as_a_wall(box: Box) -> None:
    box.twinhull("create", "--isolation", "auto", "--network", "none", "--name", "chosen", "busybox", check=True)
    try:
        (row,) = box.twinhull("inspect", "chosen", check=True).json()
        assert row["isolation"] == "container"
    finally:
        box.twinhull("rm", "chosen")
