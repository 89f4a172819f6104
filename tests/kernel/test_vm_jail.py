"""What QEMU and the relay can do, judged by what the kernel shows of them; and what a workload can in its guest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import Machine, machine, open_files, status
from twinhull.plan.jail import FIRST_UID

SECCOMP_FILTER = "2"


@pytest.fixture
def running(vm: Twinhull) -> Machine:
    """A machine whose workload sleeps."""
    words = ("run", "-d", "--vm", "--name", "box", "busybox", "sleep", "600")
    return machine(vm, vm(*words, check=True, timeout_s=120).stdout.strip())


def test_qemu_is_nobody_without_any_capability(running: Machine) -> None:
    assert all(int(number) >= FIRST_UID for number in status(running.qemu, "Uid").split())
    assert all(int(number) >= FIRST_UID for number in status(running.qemu, "Gid").split())
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status(running.qemu, field), 16) == 0, field
    assert (status(running.qemu, "Seccomp"), status(running.qemu, "NoNewPrivs")) == (SECCOMP_FILTER, "1")
    assert int(status(running.qemu, "Seccomp_filters")) == 2, "ours before its own sandbox"


def test_two_machines_have_two_users(vm: Twinhull, running: Machine) -> None:
    other = machine(vm, vm("run", "-d", "--vm", "busybox", "sleep", "600", check=True).stdout.strip())
    assert status(running.qemu, "Uid") != status(other.qemu, "Uid")


def test_qemu_has_namespaces_of_its_own(running: Machine) -> None:
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{running.qemu}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_qemu_sees_its_own_files_read_only_and_a_bare_procfs(running: Machine) -> None:
    root = Path(f"/proc/{running.qemu}/root")
    assert sorted(os.listdir(root)) == ["dev", "lib", "lib64", "proc", "shares", "tmp", "usr"]
    assert [path for path in (root / "usr/bin").iterdir() if "qemu" not in path.name] == []
    assert os.listdir(root / "dev") == os.listdir(root / "shares") == os.listdir(root / "tmp") == []
    mounts = [line.split() for line in Path(f"/proc/{running.qemu}/mounts").read_text().splitlines()]
    assert [mount[1] for mount in mounts] == ["/", "/proc"]
    assert "ro" in mounts[0][3].split(",")
    assert {"hidepid=invisible", "subset=pid"} <= set(mounts[1][3].split(","))


def test_qemu_holds_no_file_of_the_host_but_its_disks(vm: Twinhull, running: Machine) -> None:
    files = {name for name in open_files(running.qemu) if name.startswith("/") and not name.startswith("/memfd:")}
    state = f"{vm.root}/state/"
    assert all(name.startswith(("/dev/null", "/dev/net/tun", "/dev/urandom", state)) for name in files), files
    kinds = {name.removeprefix(state).split("/")[0] for name in files if name.startswith(state)}
    assert kinds == {"disks", "instances"}, files


def test_the_relay_can_do_nothing_but_relay(vm: Twinhull, running: Machine) -> None:
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status(running.relay, field), 16) == 0, field
    assert (status(running.relay, "Seccomp"), status(running.relay, "NoNewPrivs")) == (SECCOMP_FILTER, "1")
    directory = os.readlink(f"/proc/{running.relay}/root")
    assert directory.startswith(str(vm.root / "state/instances/")), "its paths begin at the instance directory"
    assert not any(name.endswith("/alive") for name in open_files(running.relay))


def test_only_the_keeper_holds_the_lock(vm: Twinhull, running: Machine) -> None:
    assert any(name.endswith("/alive") for name in open_files(running.keeper))
    assert not any(name.endswith("/alive") for name in open_files(running.qemu))


def test_a_workload_reaches_neither_the_disks_nor_the_agents_port(vm: Twinhull, running: Machine) -> None:
    script = """
        for number in 'b 254 0' 'b 254 16' 'b 253 0' 'c 247 1' 'c 248 1' 'c 249 1' 'c 250 1'; do
            rm -f /tmp/node; mknod /tmp/node $number && head -c 1 /tmp/node && echo opened $number
        done; true"""
    result = vm("exec", "box", "sh", "-c", "mkdir -p /tmp;" + script)
    assert "opened" not in result.stdout
    assert result.stderr.count("Operation not permitted") == 7


def test_a_paused_machine_stands_still_and_goes_on(vm: Twinhull, running: Machine) -> None:
    group = Path(f"/proc/{running.qemu}/cgroup").read_text().rpartition("::")[2].strip()
    frozen = Path("/sys/fs/cgroup/unified" + group + "/cgroup.freeze")
    vm("pause", "box", check=True)
    assert frozen.read_text().strip() == "1"
    vm("unpause", "box", check=True)
    assert frozen.read_text().strip() == "0"
    assert vm("exec", "box", "echo", "hi").stdout == "hi\n"


def test_ending_a_machine_leaves_no_process(vm: Twinhull, running: Machine) -> None:
    vm("rm", "-f", "box", check=True)
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
