"""What holds a workload, loosened and tightened, the same behind either wall."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.support.oci import TWINHULL_OCI
from tests.support.wall import Wall

STATUS = "grep -E 'CapEff|CapBnd|Seccomp:|NoNewPrivs' /proc/self/status"
DEFAULT = 0xA80425FB
SYS_ADMIN, CHOWN = 1 << 21, 1 << 0


def held(text: str, key: str) -> int:
    """A set of capabilities in /proc/PID/status."""
    found = re.search(rf"{key}:\s+([0-9a-f]+)", text)
    assert found, text
    return int(found.group(1), 16)


@pytest.mark.parity("`--cap-add`, `--cap-drop`")
def test_capabilities_are_added_and_dropped_and_open_their_system_calls(wall: Wall) -> None:
    script = f"{STATUS}; mkdir /m; mount -t tmpfs x /m && echo mounted; chown 1 /m || echo kept"
    result = wall.run("--cap-add", "sys_admin", "--cap-drop", "CAP_CHOWN", "busybox", "sh", "-c", script)
    assert held(result.stdout, "CapEff") == held(result.stdout, "CapBnd") == (DEFAULT | SYS_ADMIN) & ~CHOWN
    assert "Seccomp:\t2" in result.stdout
    assert result.stdout.splitlines()[-2:] == ["mounted", "kept"], result.stderr


@pytest.mark.parity("`--cap-add`, `--cap-drop`")
def test_all_capabilities_can_be_dropped(wall: Wall) -> None:
    result = wall.run("--cap-drop", "ALL", "--cap-add", "NET_RAW", "busybox", "sh", "-c", STATUS)
    assert held(result.stdout, "CapBnd") == held(result.stdout, "CapEff") == 1 << 13


@pytest.mark.parity("`--privileged`")
def test_a_privileged_workload_has_everything_of_its_kernel(wall: Wall) -> None:
    script = f"{STATUS}; ls /dev/kmsg; grep -c ' /proc/' /proc/mounts; mkdir /m; mount -t tmpfs x /m && echo mounted"
    result = wall.run("--privileged", "busybox", "sh", "-c", f"{script}; test -c /dev/ptmx && echo ptmx")
    assert held(result.stdout, "CapEff") & SYS_ADMIN
    assert "Seccomp:\t0" in result.stdout
    assert result.stdout.splitlines()[-4:] == ["/dev/kmsg", "0", "mounted", "ptmx"], result.stderr
    mounts = wall.run("--privileged", "busybox", "cat", "/proc/mounts").stdout
    assert re.search(r" /sys sysfs rw", mounts), mounts
    assert re.search(r" /sys/fs/cgroup cgroup2 rw", mounts), mounts


@pytest.mark.parity("`--security-opt`")
def test_system_calls_are_filtered_as_the_options_say(wall: Wall, tmp_path: Path) -> None:
    free = ("--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges")
    shown = wall.run(*free, "busybox", "sh", "-c", STATUS).stdout
    assert ("Seccomp:\t0" in shown, "NoNewPrivs:\t1" in shown) == (True, True), shown
    profile = tmp_path / "profile.json"
    refuse = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refuse]}))
    result = wall.run("--security-opt", f"seccomp={profile}", "busybox", "mkdir", "/x")
    assert "Read-only file system" in result.stderr, result


@pytest.mark.parity("`--security-opt`")
@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_a_profile_that_refuses_the_start_itself_is_named(wall: Wall, tmp_path: Path, action: str) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": action}))
    result = wall.run("--security-opt", f"seccomp={profile}", "busybox", "true")
    assert (result.exit_code, "seccomp refuses what a start takes" in result.stderr) == (125, True), result


@pytest.mark.parity("exec `--privileged`")
def test_exec_has_the_filter_of_its_workload_and_capabilities_if_asked(wall: Wall) -> None:
    wall.detached("--name", "held", "--cap-drop", "CHOWN", "busybox", "sleep", "1000")
    plain = wall("exec", "held", "sh", "-c", STATUS, check=True).stdout
    assert held(plain, "CapEff") == DEFAULT & ~CHOWN
    more = wall("exec", "--privileged", "held", "sh", "-c", STATUS, check=True).stdout
    assert held(more, "CapEff") & (SYS_ADMIN | CHOWN) == SYS_ADMIN | CHOWN
    assert "Seccomp:\t2" in more
    assert held(wall("exec", "-u", "1000", "held", "sh", "-c", STATUS).stdout, "CapEff") == 0
    (row,) = wall("inspect", "held", check=True).json()
    assert row["request"]["cap_drop"] == ["CHOWN"]


@pytest.mark.parity(
    "`--userns private`", refused="its root is root of its own kernel alone already, and nobody on the host"
)
def test_root_in_a_user_namespace_is_nobody_outside(wall: Wall) -> None:
    result = wall.run("--userns", "private", "busybox", "cat", "/proc/self/uid_map")
    if wall.isolation == "vm":
        assert (result.exit_code, "root of its own kernel alone" in result.stderr) == (125, True), result
        return
    inside, outside, _ = result.stdout.split()
    assert (int(inside), int(outside) > 0) == (0, True), result


@pytest.mark.parity("`--runtime`", refused="what an OCI runtime makes is a container, of the host's kernel")
def test_another_runtime_makes_the_container(wall: Wall) -> None:
    result = wall.run("--runtime", str(TWINHULL_OCI), "busybox", "uname", "-r")
    if wall.isolation == "vm":
        assert (result.exit_code, "makes containers, not virtual machines" in result.stderr) == (125, True), result
        return
    assert (result.exit_code, result.stdout.strip()) == (0, os.uname().release), result
