"""Starts that go on from the saved process of a QEMU whose guest has rehearsed. Real QEMU."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.support.command import Result, Twinhull
from tests.support.imprint import PLAIN, SLEEP, begun, config_of, imprints, is_imprinted, makers, settle
from tests.support.vm import machine, status, wait_until
from twinhull.host import memory
from twinhull.plan import qemu
from twinhull.runtime import holder
from twinhull.runtime.pages import F_GET_SEALS, SEALS

LAUNCHER = Path(__file__).parents[2] / "src/twinhull/bin/launcher"


@pytest.fixture
def vm(imprinting: Twinhull) -> Twinhull:
    """The command, with an imprint to go on from."""
    return imprinting


def test_a_start_goes_on_from_it_as_often_as_one_wants_and_none_waits(vm: Twinhull) -> None:
    assert all(is_imprinted(begun(vm, *SLEEP)) for _ in range(3))
    assert makers(vm) == []
    assert vm("vm", "pool", "ls", "--format", "json", check=True).json()["templates"][0]["waiting"] == 0


def test_status_output_and_input_are_those_of_any_start(vm: Twinhull) -> None:
    script = "cat; echo err >&2; exit 7"
    done = vm("run", "--rm", "-i", "--vm", "busybox", "sh", "-c", script, stdin="to and fro\n")
    assert done == Result(7, "to and fro\n", "err\n")
    missing = vm(*PLAIN, "/no/such/thing")
    assert missing.exit_code == 127 and "/no/such/thing" in missing.stderr


def test_its_jail_is_that_of_any_other(vm: Twinhull) -> None:
    saved = begun(vm, *SLEEP)
    vm.config.write_text(vm.config.read_text().replace("true", "false"))
    try:
        plain = begun(vm, *SLEEP)
    finally:
        vm.config.write_text(vm.config.read_text().replace("false", "true"))
    assert is_imprinted(saved) and not is_imprinted(plain)
    for field in (
        "Seccomp",
        "Seccomp_filters",
        "NoNewPrivs",
        "CapEff",
        "CapPrm",
        "CapBnd",
        "CapAmb",
        "SigIgn",
        "SigCgt",
    ):
        assert status(saved, field) == status(plain, field), field
    assert status(saved, "NSpid").split()[1:] == ["1"]
    assert status(saved, "Uid") != status(plain, "Uid")
    for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert len({os.readlink(f"/proc/{pid}/ns/{name}") for pid in (saved, plain, os.getpid())}) == 3, name
    assert os.readlink(f"/proc/{saved}/cwd") == "/"
    words = Path(f"/proc/{saved}/cmdline").read_text().split("\0")
    assert words[0] == Path(f"/proc/{plain}/cmdline").read_text().split("\0")[0]
    assert f"fd={qemu.AGENT_FD}" in " ".join(words)


def test_no_descriptor_and_no_memory_of_the_launcher_s_is_left_in_it(vm: Twinhull) -> None:
    pid = begun(vm, *SLEEP)
    targets = {int(path.name): os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert qemu.IMPRINT_FD not in targets and max(targets) < 64
    known = ("/dev/null", "pipe:", "socket:", "anon_inode:", "/memfd:template", "/dev/urandom", "/dev/net/tun")
    disks = [name for name in targets.values() if not name.startswith(known)]
    assert all(str(vm.root) in name for name in disks), "its disks alone are files"
    text = Path(f"/proc/{pid}/maps").read_text()
    assert str(LAUNCHER) not in text and "/launcher" not in text
    first = int(text.split("-")[0], 16)
    assert first > 1 << 32, "the launcher's own addresses are low ones"


def test_it_cannot_be_changed_and_no_guest_changes_it(vm: Twinhull) -> None:
    (key,) = imprints(vm)
    lent = holder.lent_imprint(config_of(vm), key)
    assert lent is not None
    try:
        for fd in lent:
            assert fcntl.fcntl(fd, F_GET_SEALS) & SEALS == SEALS
            with pytest.raises(PermissionError):
                os.pwrite(fd, b"x", 0)
            with pytest.raises(PermissionError):
                mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        before = digest(lent[1])
        vm(*PLAIN, "sh", "-c", "head -c 20m /dev/urandom > /x; md5sum /x", check=True)
        assert digest(lent[1]) == before
    finally:
        for fd in lent:
            os.close(fd)


def digest(fd: int) -> str:
    """Of a whole file."""
    found = hashlib.sha256()
    for offset in range(0, os.fstat(fd).st_size, 1 << 20):
        found.update(os.pread(fd, 1 << 20, offset))
    return found.hexdigest()


def test_those_that_go_on_from_one_have_secrets_addresses_and_the_time_of_their_own(vm: Twinhull) -> None:
    script = (
        "head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id;"
        "cat /sys/class/net/eth0/address; hostname; grep -cE 'rdrand|rdseed' /proc/cpuinfo; date +%s"
    )
    time.sleep(2)  # it stands still meanwhile
    running = [vm.popen("run", "--rm", "--vm", "busybox", "sh", "-c", script, stdout=subprocess.PIPE) for _ in range(3)]
    found = [process.communicate(timeout=60)[0].split() for process in running]
    for lines in found:
        assert abs(int(lines[-1]) - time.time()) < 10
        assert lines[-2] == "0", "the emulated processor's numbers would be the same in each"
    for column in (0, 2, 3, 4, 5):
        assert len({lines[column] for lines in found}) == 3, found


def test_the_kernel_s_source_of_entropy_is_the_host_s_at_each_read(vm: Twinhull) -> None:
    script = "mknod /tmp/h c 10 183; for i in 1 2 3 4 5 6; do head -c 16 /tmp/h | md5sum; done"
    words = ("run", "--rm", "--vm", "--privileged", "--network", "none", "busybox", "sh", "-c", script)
    found = [line for _ in range(3) for line in vm(*words, check=True).stdout.splitlines()]
    assert len(set(found)) == 18


def test_its_network_cuts_and_checks_packets_as_any_other_does(vm: Twinhull) -> None:
    content = os.urandom(8 << 20)
    script = "nc -l -p 99 | md5sum > /sum; sleep 1000"
    vm("run", "-d", "--name", "receiver", "--vm", "busybox", "sh", "-c", script, check=True)
    assert is_imprinted(machine(vm, vm("inspect", "receiver", check=True).json()[0]["id"]).qemu)
    (row,) = vm("inspect", "receiver", check=True).json()
    address = row["networks"][0]["address"]
    listening = ("exec", "receiver", "sh", "-c", "netstat -ltn | grep -q :99")
    wait_until(lambda: vm(*listening).exit_code == 0, "the listener")
    with socket.create_connection((address, 99), timeout=10) as sender:
        sender.sendall(content)
    wait_until(lambda: vm("exec", "receiver", "cat", "/sum").stdout, "all of it")
    assert vm("exec", "receiver", "cat", "/sum").stdout.split()[0] == hashlib.md5(content).hexdigest()


def test_it_sends_as_much_as_it_gets(vm: Twinhull) -> None:
    script = "head -c 8m /dev/urandom > /x; md5sum /x; nc $0 $1 < /x"
    with socket.create_server(("0.0.0.0", 0)) as listener:
        listener.settimeout(30)
        received: list[bytes] = []

        def receive() -> None:
            connection, _ = listener.accept()
            with connection:
                while part := connection.recv(1 << 20):
                    received.append(part)

        thread = threading.Thread(target=receive)
        thread.start()
        gateway = vm(
            "run", "--rm", "busybox", "sh", "-c", "ip route | awk '/default/{print $3}'", check=True
        ).stdout.strip()
        words = ("run", "--rm", "--vm", "busybox", "sh", "-c", script, gateway, str(listener.getsockname()[1]))
        done = vm(*words, check=True, timeout_s=60)
        thread.join(30)
    assert done.stdout.split()[0] == hashlib.md5(b"".join(received)).hexdigest()


@pytest.mark.parametrize(
    ("words", "imprinted"),
    [
        (("--memory", "100m"), True),
        (("--cpus", "0.5"), True),
        (("-p", "127.0.0.1:0:80"), True),
        (("--read-only", "--tmpfs", "/t"), True),
        (("--hostname", "else", "-u", "7", "-e", "A=b"), True),
        (("--no-template",), False),
    ],
)
def test_it_serves_what_its_machine_has(vm: Twinhull, words: tuple[str, ...], imprinted: bool) -> None:
    assert is_imprinted(begun(vm, "run", "-d", "--vm", *words, "busybox", "sleep", "1000")) == imprinted


def test_each_machine_that_is_used_gets_one_of_its_own(vm: Twinhull) -> None:
    before = imprints(vm)
    words = ("run", "-d", "--vm", "-v", "/usr:/u:ro", "--cpus", "2", "busybox", "sleep", "1000")
    assert not is_imprinted(begun(vm, *words))
    settle(vm)
    assert len(imprints(vm)) > len(before)
    assert is_imprinted(begun(vm, *words))
    script = "nproc; (md5sum /dev/zero & md5sum /dev/zero & sleep 2; kill %1 %2) 2>/dev/null; head -1 /proc/uptime"
    assert vm("run", "--rm", *words[2:-2], "sh", "-c", script, check=True).stdout.split()[0] == "2"


def test_a_volume_is_the_start_s_own_whatever_the_imprint_had_there(vm: Twinhull, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as it was\n")
    words = ("run", "--rm", "--vm", "-v", f"{tmp_path}:/data", "busybox", "sh", "-c")
    script = "cat /data/file; echo new > /data/file; echo $(nproc) > /data/other; chown 7:8 /data/other"
    done = vm(*words, script, check=True, timeout_s=120)
    assert (done.stdout, (tmp_path / "file").read_text()) == ("as it was\n", "new\n")
    settle(vm)
    again = begun(vm, "run", "-d", "--vm", "-v", f"{tmp_path}:/data", "busybox", "sh", "-c", "ls /data; sleep 1000")
    assert is_imprinted(again)
    assert vm(*words, script, check=True).stdout == "new\n"
    info = (tmp_path / "other").stat()
    assert (info.st_uid, info.st_gid) == (7, 8)
    (tmp_path / "late").write_text("seen\n")
    identity = vm("ps", "-q", check=True).stdout.strip()
    assert vm("exec", identity, "cat", "/data/late", check=True).stdout == "seen\n"


def test_stop_start_restart_pause_and_update_are_those_of_any_other(vm: Twinhull) -> None:
    vm("run", "-d", "--name", "it", "--vm", "busybox", "sh", "-c", "date >> /kept; exec sleep 1000", check=True)
    vm("pause", "it", check=True)
    vm("unpause", "it", check=True)
    vm("update", "--memory", "100m", "--cpus", "0.5", "it", check=True)
    vm("stop", "-t", "1", "it", check=True)
    vm("start", "it", check=True)
    vm("restart", "-t", "1", "it", check=True)
    assert is_imprinted(machine(vm, vm("inspect", "it", check=True).json()[0]["id"]).qemu)
    wait_until(lambda: vm("exec", "it", "wc", "-l", "/kept").stdout == "3 /kept\n", "three starts on one disk")


def test_it_can_be_copied_and_saved(vm: Twinhull) -> None:
    script = "i=0; while :; do i=$((i + 1)); echo $i > /next; mv /next /count; sleep 0.1; done"
    vm("run", "-d", "--name", "first", "--vm", "busybox", "sh", "-c", script, check=True)
    wait_until(lambda: int(vm("exec", "first", "cat", "/count").stdout or "0") >= 5, "a count")
    copies = vm("fork", "first", "-n", "2", check=True).stdout.split()
    for copy in copies:
        assert int(vm("exec", copy, "cat", "/count", check=True).stdout) >= 5
        assert vm("exec", copy, "hostname", check=True).stdout.strip() == copy[:12]
    vm("snapshot", "first", "then", check=True)
    again = vm("restore", "first:then", "--name", "again", check=True)
    assert again.exit_code == 0 and int(vm("exec", "again", "cat", "/count", check=True).stdout) >= 5


def test_ten_take_less_memory_than_was_promised(vm: Twinhull) -> None:
    pids = [begun(vm, *SLEEP) for _ in range(10)]
    time.sleep(1)
    (used, *_) = (sum(cost.pss_bytes for cost in memory.costs(pids)),)
    assert used / len(pids) < 40 << 20
