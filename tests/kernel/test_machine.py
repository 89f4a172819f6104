"""Machines: whole operating systems from their own disks, beside containers and virtual machines.

The system is the smallest that boots by itself (tests/support/machines.py); tests/clients has a whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import leaks
from tests.support.command import Twinhull
from tests.support.machines import SPARE_SECTOR, UP
from tests.support.vm import open_files, status
from twinhull.host import memory
from twinhull.plan.jail import FIRST_UID

BOOT_S = 60.0
PATIENCE_S = 20.0
SECCOMP_FILTER = "2"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    return Twinhull(tmp_path_factory.mktemp("machines"))


@pytest.fixture
def machines(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """One state directory for all tests, so that QEMU is tried under KVM once."""
    yield home
    home.remove_all()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wait_for(seen: Callable[[], bool], what: Callable[[], str], patience_s: float = BOOT_S) -> None:
    """Wait for something that must come; `what` says what came instead."""
    deadline = time.monotonic() + patience_s
    while not seen():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def boot(twinhull: Twinhull, name: str, disk: Path, *flags: str) -> None:
    """Create a machine, switch it on, and wait until its system is up."""
    twinhull("machine", "create", name, "--disk", str(disk), "--memory", "128m", *flags, check=True)
    twinhull("machine", "start", name, check=True, timeout_s=120)
    await_up(twinhull, name)


def await_up(twinhull: Twinhull, *names: str, boots: int = 1) -> None:
    """Wait until each has said so many times that it is up."""
    for name in names:
        wait_for(partial(shows, twinhull, name, UP, boots), partial(console, twinhull, name))


def shows(twinhull: Twinhull, name: str, text: str, times: int = 1) -> bool:
    return console(twinhull, name).replace("\r", "").count(text) >= times


def console(twinhull: Twinhull, name: str) -> str:
    return twinhull("machine", "logs", name, check=True).stdout


def type_into(twinhull: Twinhull, name: str, line: str, answer: str) -> None:
    """Type a line on a machine's console and wait for what it prints; then the client is ended."""
    client = twinhull.popen("machine", "attach", name, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        assert client.stdin
        with client.stdin as keys:
            keys.write(line + "\n")
            keys.flush()
            wait_for(partial(shows, twinhull, name, f"\n{answer}"), partial(console, twinhull, name), PATIENCE_S)
            client.terminate()
    finally:
        client.kill()
        client.wait()
        leaks.AWAITED.discard(client.pid)


def row(twinhull: Twinhull, name: str) -> dict[str, Any]:
    (found,) = [row for row in twinhull("ps", "-a", "--format", "json", check=True).json() if row["name"] == name]
    return dict(found)


def qemu_of(twinhull: Twinhull, name: str) -> int:
    """The QEMU of a machine: the only child of its shim."""
    (qemu,) = leaks.children(shim_of(twinhull, name))
    return qemu


def shim_of(twinhull: Twinhull, name: str) -> int:
    """The supervisor of a machine: it holds the lock."""
    shim = memory.holder(str(twinhull.root / "state/instances" / row(twinhull, name)["id"] / "alive"))
    assert shim
    return shim


def test_the_life_of_a_machine(machines: Twinhull, tiny: Path) -> None:
    before = digest(tiny)
    boot(machines, "box", tiny, "-p", "80")
    shown = row(machines, "box")
    assert (shown["isolation"], shown["status"]) == ("machine", "running")
    assert "SeaBIOS" in console(machines, "box"), "the firmware talks to the same console"
    assert [line.split()[-1] for line in machines("machine", "ps").stdout.splitlines()] == ["NAME", "box"]
    type_into(machines, "box", "hostname", "box")
    type_into(machines, "box", "ip addr show eth0 | grep -o 'inet [0-9.]*'", f"inet {shown['network']['address']}")
    (port,) = shown["ports"]
    page = subprocess.run(["curl", "-s", f"127.0.0.1:{port['host_port']}"], capture_output=True, text=True, check=True)
    assert page.stdout == "hello from a machine\n"
    for isolation in ("container", "vm"):
        meet(machines, "box", isolation)

    machines("machine", "stop", "box", check=True, timeout_s=60)
    assert (row(machines, "box")["exit_code"], row(machines, "box")["status"]) == (0, "exited")
    assert machines("machine", "ps").stdout.count("\n") == 1
    machines("machine", "rm", "box", check=True)
    assert digest(tiny) == before, "the given file was written"


def meet(twinhull: Twinhull, name: str, isolation: str) -> None:
    """A machine and another workload find each other by name."""
    words = ("--isolation", isolation, "--name", isolation, "busybox", "sleep", "1000")
    twinhull("run", "-d", *words, check=True, timeout_s=180)
    ping = twinhull("exec", isolation, "ping", "-c", "1", "-W", "5", name)
    assert "1 packets received" in ping.stdout, ping
    back = f"ping -c 1 -W 5 {isolation} | grep -q '1 packets received'; echo {isolation}-$?"
    type_into(twinhull, name, back, f"{isolation}-0")
    twinhull("rm", "-f", isolation, check=True)


def test_two_run_at_once_each_with_what_it_wrote_and_keep_it_over_a_restart(machines: Twinhull, tiny: Path) -> None:
    before = digest(tiny)
    for name in ("one", "two"):
        machines("machine", "create", name, "--disk", str(tiny), "--memory", "128m", check=True)
    machines("machine", "start", "one", "two", check=True, timeout_s=120)
    await_up(machines, "one", "two")
    assert qemu_of(machines, "one") != qemu_of(machines, "two")
    assert status(qemu_of(machines, "one"), "Uid") != status(qemu_of(machines, "two"), "Uid")
    for name in ("one", "two"):
        write = f"echo I am {name} | dd of=/dev/vda bs=512 seek={SPARE_SECTOR} conv=fsync 2>/dev/null; echo done-$?"
        type_into(machines, name, write, "done-0")
    machines("machine", "stop", "one", "two", check=True, timeout_s=90)
    machines("machine", "start", "one", "two", check=True)
    await_up(machines, "one", "two", boots=2)
    for name in ("one", "two"):
        read = f"dd if=/dev/vda bs=512 count=1 skip={SPARE_SECTOR} 2>/dev/null | cat"
        type_into(machines, name, read, f"I am {name}")
    assert digest(tiny) == before, "the given file was written"


def test_a_machine_without_a_network_reaches_nobody(machines: Twinhull, tiny: Path) -> None:
    machines("machine", "create", "alone", "--disk", str(tiny), "--network", "none", "--memory", "128m", check=True)
    machines("machine", "start", "alone", check=True)
    shown = subprocess.run(
        ["nsenter", "-t", str(qemu_of(machines, "alone")), "-n", "ip", "-j", "addr"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {link["ifname"] for link in json.loads(shown.stdout)} == {"lo", "tap0"}
    assert row(machines, "alone")["network"] is None


def test_one_that_does_not_hear_its_power_button_is_switched_off_in_time(machines: Twinhull, tiny: Path) -> None:
    machines("machine", "create", "box", "--disk", str(tiny), "--network", "none", "--memory", "128m", check=True)
    machines("machine", "start", "box", check=True)
    began = time.monotonic()
    machines("machine", "stop", "-t", "1", "box", check=True)  # it is still in its firmware or its kernel
    assert time.monotonic() - began < 10
    assert row(machines, "box")["exit_code"] == 137


def test_its_console_is_a_terminal_a_reset_goes_on_and_a_guest_that_switches_itself_off_ends_with_0(
    machines: Twinhull, tiny: Path
) -> None:
    machines("machine", "create", "box", "--disk", str(tiny), "--network", "none", "--memory", "128m", check=True)
    seen = on_a_terminal(machines, ("machine", "start", "--attach", "box"), UP.encode(), b"\x10\x11")
    assert b"SeaBIOS" in seen
    pid = qemu_of(machines, "box")
    attach = ("attach", "--detach-keys", "ctrl-a,d", "box")
    on_a_terminal(machines, attach, b"is-42", b"\x01d", b"echo is-$((6*7)); reboot -f\n")
    await_up(machines, "box", boots=2)
    assert qemu_of(machines, "box") == pid
    type_into(machines, "box", "echo off-$((1+1)); poweroff -f", "off-2")
    wait_for(lambda: row(machines, "box")["status"] == "exited", partial(console, machines, "box"))
    assert row(machines, "box")["exit_code"] == 0


def on_a_terminal(twinhull: Twinhull, words: tuple[str, ...], until: bytes, then: bytes, first: bytes = b"") -> bytes:
    """Run a command on a terminal, press keys once it has shown something, and return what it showed."""
    from tests.support.command import COMMAND

    pid, fd = pty.fork()
    if pid == 0:
        os.execve(COMMAND, [str(COMMAND), *words], twinhull.environment())
    leaks.AWAITED.add(pid)
    os.write(fd, first)
    seen, deadline = b"", time.monotonic() + BOOT_S
    try:
        while until not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([fd], [], [], 1)[0]:
                seen += os.read(fd, 65536)
        os.write(fd, then)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        leaks.AWAITED.discard(pid)
        os.close(fd)
    return seen


@pytest.mark.parametrize("victim", ["shim", "qemu"])
def test_whatever_is_killed_leaves_nothing_and_the_machine_starts_again(
    machines: Twinhull, tiny: Path, victim: str
) -> None:
    machines("machine", "create", "box", "--disk", str(tiny), "--memory", "128m", "-p", "80", check=True)
    machines("machine", "start", "box", check=True)
    qemu = qemu_of(machines, "box")
    shim = shim_of(machines, "box")
    os.kill(shim if victim == "shim" else qemu, signal.SIGKILL)
    wait_for(lambda: row(machines, "box")["status"] == "exited", partial(console, machines, "box"), 10)
    assert row(machines, "box")["exit_code"] == 137
    assert not Path(f"/proc/{qemu}/exe").exists()
    machines("machine", "start", "box", check=True)
    machines("machine", "rm", "-f", "box", check=True)


def test_qemu_is_jailed_as_that_of_a_virtual_machine_is(machines: Twinhull, tiny: Path) -> None:
    machines("machine", "create", "box", "--disk", str(tiny), "--memory", "128m", check=True)
    machines("machine", "start", "box", check=True)
    qemu = qemu_of(machines, "box")
    assert all(int(number) >= FIRST_UID for number in (status(qemu, "Uid") + status(qemu, "Gid")).split())
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status(qemu, field), 16) == 0, field
    assert (status(qemu, "Seccomp"), status(qemu, "NoNewPrivs")) == (SECCOMP_FILTER, "1")
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{qemu}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
    root = Path(f"/proc/{qemu}/root")
    assert [path.name for path in (root / "usr/bin").iterdir() if "qemu" not in path.name] == []
    assert sorted(os.listdir(root / "dev")) == ["console", "null", "pts"]
    assert "locks can be lost" not in console(machines, "box"), "QEMU's locks are those that hold"
    files = {name for name in open_files(qemu) if name.startswith("/") and not name.startswith("/memfd:")}
    directory = machines.root / "state/instances" / str(row(machines, "box")["id"])
    assert {name for name in files if not name.startswith("/dev/")} == {str(tiny), f"{directory}/disk.qcow2"}


def test_the_given_disk_cannot_be_written_through_what_qemu_has(machines: Twinhull, tiny: Path) -> None:
    machines("machine", "create", "box", "--disk", str(tiny), "--memory", "128m", check=True)
    machines("machine", "start", "box", check=True)
    descriptors = Path(f"/proc/{qemu_of(machines, 'box')}/fd")
    given = [entry.name for entry in descriptors.iterdir() if os.readlink(entry) == str(tiny)]
    assert given
    for number in given:
        flags = int((descriptors.parent / "fdinfo" / number).read_text().split("flags:")[1].split()[0], 8)
        assert flags & os.O_ACCMODE == os.O_RDONLY


def test_a_disk_that_names_another_file_is_refused(machines: Twinhull, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.qcow2"
    make = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", str(hostile), "1M"]
    subprocess.run(make, check=True)
    refused = machines("machine", "create", "box", "--disk", str(hostile))
    assert refused.exit_code == 125
    assert "backing file" in refused.stderr and "not followed" in refused.stderr


def test_a_disk_exchanged_for_a_hostile_one_is_not_followed(machines: Twinhull, tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.qcow2"
    subprocess.run(["cp", "--sparse=always", tiny, mine], check=True)
    machines("machine", "create", "box", "--disk", str(mine), "--network", "none", check=True)
    make = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", str(mine), "1M"]
    subprocess.run(make, check=True)
    assert "backing file" in machines("machine", "start", "box").stderr
    subprocess.run(["cp", tiny, mine], check=True)
    assert "is not what it was" in machines("machine", "start", "box").stderr
    mine.unlink()
    assert "no such disk" in machines("machine", "start", "box").stderr
    assert row(machines, "box")["status"] == "created"


def test_errors_say_what_is_wrong(machines: Twinhull, tiny: Path, tmp_path: Path) -> None:
    def refusal(*words: str) -> str:
        result = machines("machine", *words)
        assert result.exit_code in (1, 125) and result.stdout == "", result
        return result.stderr

    raw = tmp_path / "raw.img"
    raw.write_bytes(bytes(510) + b"\x55\xaa" + bytes(512))
    disk = ("--disk", str(tiny))
    assert "not a qcow2 disk: it looks like a raw disk" in refusal("create", "x1", "--disk", str(raw))
    assert "no such disk" in refusal("create", "x1", "--disk", str(tmp_path / "absent"))
    assert "cannot have more" in refusal("create", "x1", *disk, "--memory", "900t")
    assert "at least 32m" in refusal("create", "x1", *disk, "--memory", "8m")
    assert "1 to" in refusal("create", "x1", *disk, "--cpus", "1.5")
    assert "kernel of its own" in refusal("create", "x1", *disk, "--network", "host")
    assert "invalid name" in refusal("create", "a/b", *disk)
    machines("machine", "create", "taken", *disk, check=True)
    assert "in use" in refusal("create", "taken", *disk)
    assert "no such workload" in refusal("start", "absent")
    machines("run", "--name", "other", "--network", "none", "busybox", "true", check=True)
    for verb in ("start", "stop", "rm", "attach", "logs", "stack"):
        assert "not a machine" in refusal(verb, "other"), verb
    machines("machine", "start", "taken", check=True)
    assert "own system's" in machines("exec", "taken", "true").stderr


def test_a_qemu_that_dies_at_once_says_why(machines: Twinhull, tiny: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.qcow2"
    content = bytearray(tiny.read_bytes())
    content[47] |= 8  # its table begins in the middle of a cluster, which only QEMU minds
    torn.write_bytes(content)
    machines("machine", "create", "box", "--disk", str(torn), "--network", "none", check=True)
    machines("machine", "start", "box")
    wait_for(lambda: row(machines, "box")["status"] == "exited", partial(console, machines, "box"), 10)
    assert "qemu-system-x86_64" in console(machines, "box")
    assert row(machines, "box")["exit_code"] == 1
