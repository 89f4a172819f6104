"""How virtual machines start: cold, from a template, and when neither works. Real QEMU."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.support.command import Result, Twinhull
from tests.support.vm import machine, open_files, wait_until

pytestmark = pytest.mark.own_templates

ECHO = ("run", "--rm", "--vm", "--network", "none", "busybox", "echo", "hi")


def run(vm: Twinhull, *words: str) -> Result:
    """Run and remove in a virtual machine without network."""
    return vm("run", "--rm", "--vm", "--network", "none", *words, timeout_s=120)


def template(vm: Twinhull) -> Path:
    """Return the directory of the only template."""
    (found,) = [path for path in (vm.root / "state/templates").iterdir() if path.is_dir()]
    return found


def test_the_first_start_makes_a_template_and_the_second_uses_it(vm: Twinhull) -> None:
    first = vm(*ECHO, timeout_s=120, check=True)
    made = template(vm).stat().st_mtime_ns
    second = vm(*ECHO, check=True)
    assert (first.stdout, second.stdout, second.stderr) == ("hi\n", "hi\n", "")
    assert template(vm).stat().st_mtime_ns == made


def test_a_guest_runs_a_kernel_of_its_own(vm: Twinhull) -> None:
    inside = run(vm, "busybox", "cat", "/proc/sys/kernel/random/boot_id", "/proc/version").stdout
    assert Path("/proc/sys/kernel/random/boot_id").read_text() not in inside
    (kernel,) = [path for path in (vm.root / "state/kernels").iterdir() if path.name[0].isdigit()]
    assert kernel.name in inside


def test_restored_guests_have_identities_of_their_own_and_the_right_time(vm: Twinhull) -> None:
    script = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum; hostname; date +%s"
    first, second = (run(vm, "busybox", "sh", "-c", script).stdout.split() for _ in range(2))
    for one, other in zip(first[:2] + first[3:4], second[:2] + second[3:4], strict=True):
        assert one != other
    assert abs(int(second[-1]) - time.time()) < 5


def test_a_template_whose_memory_is_damaged_is_made_again(vm: Twinhull) -> None:
    vm(*ECHO, timeout_s=120, check=True)
    vm.remove_all()  # ends the holder, which has the undamaged memory
    memory = template(vm) / "memory"
    with memory.open("r+b") as file:
        offset = os.lseek(file.fileno(), 0, os.SEEK_DATA)
        page = os.pread(file.fileno(), 4096, offset)
        os.pwrite(file.fileno(), bytes(byte ^ 0xFF for byte in page), offset)
    state = template(vm) / "state"
    made = state.stat().st_mtime_ns  # an inode number may come again
    result = vm(*ECHO, timeout_s=120)
    assert (result.exit_code, result.stdout) == (0, "hi\n"), result.stderr
    assert state.stat().st_mtime_ns != made
    assert vm(*ECHO, check=True).stderr == ""


def test_a_template_that_is_made_again_does_not_get_the_memory_of_the_one_before(vm: Twinhull) -> None:
    vm(*ECHO, timeout_s=120, check=True)
    shutil.rmtree(template(vm))  # while its holder goes on
    result = vm(*ECHO, timeout_s=120)
    assert (result.exit_code, result.stdout) == (0, "hi\n"), result.stderr
    assert "booting instead" not in result.stderr
    assert template(vm).exists()


def test_a_template_that_does_not_start_is_followed_by_a_cold_boot_that_says_so(vm: Twinhull) -> None:
    vm(*ECHO, timeout_s=120, check=True)
    state = template(vm) / "state"
    content = bytearray(state.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = b"\xff" * 64
    content[:64] = b"\x00" * 64
    state.write_bytes(content)
    result = vm(*ECHO, timeout_s=120)
    assert (result.exit_code, result.stdout) == (0, "hi\n"), result.stderr
    assert "booting instead" in result.stderr
    assert not state.exists(), "the template was trusted again"


def test_the_cold_boot_after_a_template_that_does_not_start_has_its_network(vm: Twinhull) -> None:
    vm(*ECHO, timeout_s=120, check=True)
    state = template(vm) / "state"
    state.write_bytes(b"\xff" * state.stat().st_size)
    script = (
        "ping -c1 -W5 $(ip route | awk '/default/ {print $3}') >/dev/null && nslookup $HOSTNAME >/dev/null && echo ok"
    )
    result = vm("run", "--rm", "--vm", "--name", "again", "busybox", "sh", "-c", script, timeout_s=120)
    assert (result.exit_code, result.stdout) == (0, "ok\n"), result.stderr
    assert "booting instead" in result.stderr


def test_a_disk_that_is_gone_or_cut_short_is_made_again(vm: Twinhull) -> None:
    vm(*ECHO, timeout_s=120, check=True)
    (disk,) = (vm.root / "state/disks").glob("*.erofs")
    size = disk.stat().st_size
    disk.write_bytes(disk.read_bytes()[:5000])
    assert vm(*ECHO, check=True).stdout == "hi\n"
    disk.unlink()
    assert vm(*ECHO, check=True).stdout == "hi\n"
    assert disk.stat().st_size == size


def test_more_memory_than_the_host_has_is_refused_at_once(vm: Twinhull) -> None:
    began = time.monotonic()
    result = vm("run", "--rm", "--vm", "--network", "none", "--memory", "100000g", "busybox", "true")
    assert result.exit_code == 125
    assert "cannot have more" in result.stderr
    assert time.monotonic() - began < 5


def test_a_guest_that_does_not_come_up_is_an_error_with_its_console(tmp_path: Path) -> None:
    broken = tmp_path / "vmlinux"
    (source,) = Path("build/kernels").glob("[0-9]*/vmlinux")
    content = bytearray(source.read_bytes())
    banner = content.index(b"Linux version ")  # its release stays readable; nearly all code is lost
    start = 4 << 20
    content[start : banner - (1 << 20)] = b"\xcc" * (banner - (1 << 20) - start)
    broken.write_bytes(content)
    vm = Twinhull(tmp_path, settings={"vm_kernel": str(broken)})
    vm.config.write_text(vm.config.read_text() + "vm_boot_timeout_s = 4.0\n")
    begun = time.monotonic()
    result = vm(*ECHO)
    assert (result.exit_code, result.stdout) == (125, "")
    assert "virtual machine" in result.stderr
    assert time.monotonic() - begun < 40
    assert vm.names() == []
    assert list((vm.root / "state/instances").iterdir()) == []


def test_many_starters_at_once_share_one_holder(vm: Twinhull) -> None:
    vm(*ECHO, timeout_s=120, check=True)
    vm.remove_all()
    running = [vm.popen(*ECHO, stdout=-1, stderr=-1) for _ in range(4)]
    results = [(process.communicate(timeout=120), process.returncode) for process in running]
    assert [(out, code) for (out, _), code in results] == [("hi\n", 0)] * 4, results
    directory = str(vm.root / "run/templates" / template(vm).name)
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    assert len([pid for pid in pids if directory in open_files(pid)]) == 1


def test_no_guest_can_change_the_memory_that_others_start_from(vm: Twinhull) -> None:
    identity = vm("run", "-d", "--vm", "--network", "none", "busybox", "sleep", "60", check=True).stdout.strip()
    qemu = machine(vm, identity).qemu
    maps = [line for line in Path(f"/proc/{qemu}/maps").read_text().splitlines() if "memfd:template" in line]
    assert maps and all(line.split()[1].endswith("p") for line in maps), "mapped privately"
    number = next(n for n in os.listdir(f"/proc/{qemu}/fd") if "memfd:template" in os.readlink(f"/proc/{qemu}/fd/{n}"))
    fd = os.open(f"/proc/{qemu}/fd/{number}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def test_a_vm_ends_with_its_qemu(vm: Twinhull) -> None:
    identity = vm("run", "-d", "--vm", "--name", "box", "busybox", "sleep", "600", check=True).stdout.strip()
    os.kill(machine(vm, identity).qemu, 9)
    assert vm("wait", "box").stdout.strip() == "137"


def test_a_vm_ends_with_its_relay(vm: Twinhull) -> None:
    identity = vm("run", "-d", "--vm", "--name", "box", "busybox", "sleep", "600", check=True).stdout.strip()
    found = machine(vm, identity)
    os.kill(found.relay, 9)
    wait_until(lambda: vm("ps", "-a", "--format", "json").json()[0]["status"] == "exited", "the end of the VM")
    assert not Path(f"/proc/{found.qemu}").exists()


def test_a_vm_ends_with_its_keeper(vm: Twinhull) -> None:
    identity = vm("run", "-d", "--vm", "--name", "box", "busybox", "sleep", "600", check=True).stdout.strip()
    found = machine(vm, identity)
    os.kill(found.keeper, 9)
    wait_until(lambda: not Path(f"/proc/{found.qemu}").exists(), "the end of QEMU")
    wait_until(lambda: not Path(f"/proc/{found.relay}").exists(), "the end of the relay")
    assert json.loads(vm("ps", "-a", "--format", "json").stdout)[0]["status"] in ("exited", "lost")


def test_what_is_written_survives_a_restart(vm: Twinhull) -> None:
    vm("create", "--vm", "--network", "none", "--name", "box", "busybox", "sh", "-c", "cat /kept; echo kept > /kept")
    for expected in ("", "kept\n"):
        vm("start", "box", check=True)
        vm("wait", "box")
        assert vm("logs", "box").stdout.endswith(expected)


@pytest.mark.parametrize("words", [("--rm",), ()], ids=["memory", "disk"])
def test_what_is_written_before_the_program_has_the_time_of_the_start(vm: Twinhull, words: tuple[str, ...]) -> None:
    assert run(vm, "busybox", "true").exit_code == 0  # the template is older
    time.sleep(2)
    before = int(time.time())
    seen = ("/", "/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
    told = vm("run", *words, "--vm", "--network", "none", "busybox", "stat", "-c", "%Y", *seen, timeout_s=120)
    times = [int(line) for line in told.stdout.splitlines()]
    assert (len(times), told.exit_code) == (len(seen), 0), told
    assert before <= min(times) and max(times) <= time.time(), (before, times)
