"""System calls, devices and kernel interfaces that a workload must not get, tried from inside of both isolations."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from tests.security.conftest import Box
from twinhull.plan import defaults

SIGSYS, SIGSEGV = 31, 11
# What only another reason than the filter would answer: the call reached the kernel.
REFUSALS = {"EPERM", "ENOSYS", f"signal {SIGSYS}"}
OTHERS = {
    "clone3": {"ENOSYS"},  # its flags lie in memory: libraries go back to clone
    "int80": {f"signal {SIGSYS}", f"signal {SIGSEGV}"},  # a kernel without 32-bit calls has no such door
    "x32": {f"signal {SIGSYS}", "ENOSYS"},
}
CALLS = """
    unshare-user unshare-mount setns clone-user clone3 mount mount-cgroup1 remount umount2 pivot_root open_tree
    move_mount fsopen mount_setattr io_uring_setup userfaultfd bpf perf_event_open keyctl add_key request_key
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon acct syslog fanotify_init
    move_pages process_vm_writev kcmp iopl ioperm quotactl sethostname vhangup clock_settime open_by_handle_at
    personality socket-alg socket-vsock int80 x32
""".split()


def answers(box: Box) -> dict[str, str]:
    """How each call ended, in one run of the program."""
    lines = box.exec("/attack/attack", "calls", check=True).stdout.splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    return {name: errno.errorcode.get(int(text), text) if text.isdigit() else text for name, text in found.items()}


def test_every_forbidden_system_call_is_refused_by_the_filter(box: Box) -> None:
    """io_uring, userfaultfd, bpf, keys, namespaces, mounts, AF_ALG (CVE-2026-31431), AF_VSOCK, and other doors."""
    found = answers(box)
    assert set(found) == set(CALLS), "each was tried"
    assert {name: text for name, text in found.items() if text not in OTHERS.get(name, REFUSALS)} == {}


def test_the_filter_holds_for_exec_and_for_another_user_too(box: Box) -> None:
    for words in ((), ("-u", "1000")):
        result = box.twinhull("exec", *words, box.isolation, "grep", "-E", "^(Seccomp|CapBnd):", "/proc/self/status")
        assert result.stdout.split() == ["CapBnd:", "00000000a80425fb", "Seccomp:", "2"]


def test_no_device_of_the_machine_can_be_opened(box: Box) -> None:
    """Every device that sysfs shows: the host's disks, and a guest's disks, ports, console and memory."""
    lines = box.exec("/attack/attack", "devices", check=True).stdout.splitlines()
    allowed = {f"c {rule.get('major')}:{rule.get('minor')}" for rule in defaults.DEVICE_RULES}
    opened = {line.removesuffix(" ok") for line in lines if line.endswith(" ok")}
    assert opened <= allowed, lines
    assert [line for line in lines if "cannot be made" in line] == []
    assert int(lines[-1].removeprefix("tried ")) > 20, "sysfs shows the devices"


def test_the_devices_that_it_has_are_what_their_names_say(box: Box) -> None:
    shown = box.sh("cd /dev; for n in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' $n; done")
    expected = [f"{name} character special file {major:x}:{minor:x} 666" for name, major, minor in defaults.DEVICES]
    assert shown.splitlines() == expected
    nodes = box.sh("find /dev -type b; find /dev -type c").split()
    assert set(nodes) <= {f"/dev/{name}" for name, _, _ in defaults.DEVICES} | {"/dev/pts/ptmx"}


def test_masked_paths_are_empty_and_cannot_be_written(box: Box) -> None:
    """CVE-2025-31133 and its like: what lies there is neither the kernel's nor the workload's."""
    script = f"""for p in {" ".join(defaults.MASKED_PATHS)}; do
        [ -d $p ] && ls -A $p && touch $p/x 2>/dev/null && echo written $p
        [ -f $p ] && head -c 10 $p
        [ -c $p ] && stat -c '%t:%T' $p && head -c 10 $p
        done; true"""
    assert set(box.sh(script).split()) == {"1:3"}, "files lie under the null device, directories are empty"


def test_read_only_paths_refuse_writes_of_root(box: Box) -> None:
    script = f"""for p in {" ".join(defaults.READONLY_PATHS)}; do
        find $p -type f -perm -200 2>/dev/null | head -n 20 | while read f; do true >> $f; done
        done; true >> /proc/sys/kernel/core_pattern"""
    shown = box.sh(script).splitlines()
    assert all("Read-only file system" in line for line in shown), shown
    assert len(shown) > 20, "there are files to try"


def test_thermal_counters_are_masked_on_every_processor(box: Box) -> None:
    directory = box.twinhull.root / "state/instances" / box.identity
    masked = json.loads((directory / "config.json").read_text())["linux"]["maskedPaths"]
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*"):
        assert f"{path}/thermal_throttle" in masked
    assert box.sh("cat /sys/devices/system/cpu/cpu*/thermal_throttle/* 2>/dev/null") == ""


def test_no_cgroup_can_be_written_and_none_has_a_release_agent(box: Box) -> None:
    """CVE-2022-0492."""
    assert box.sh("find / -xdev -name release_agent; find /sys -name release_agent") == ""
    shown = box.sh("mkdir /sys/fs/cgroup/x; echo 0 > /sys/fs/cgroup/cgroup.procs; echo max > /sys/fs/cgroup/pids.max")
    assert shown.count("Read-only file system") == 3, shown
    assert {line.split()[4] for line in box.sh("grep cgroup /proc/self/mountinfo").splitlines()} == {"/sys/fs/cgroup"}
    assert box.sh("cat /proc/self/cgroup | grep '^0:'") == "0::/\n"


def test_sysfs_and_procfs_are_mounted_as_they_should_be(box: Box) -> None:
    mounts = {line.split()[1]: line.split() for line in box.sh("cat /proc/mounts").splitlines()}
    assert mounts["/sys"][2:4] == ["sysfs", "ro,nosuid,nodev,noexec,relatime"]
    assert {"nosuid", "nodev", "noexec"} <= set(mounts["/proc"][3].split(","))
    assert mounts["/proc/sys"][3].split(",")[0] == "ro"
