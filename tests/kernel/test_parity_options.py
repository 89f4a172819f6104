"""The rarer flags of run, the same behind either wall: what the kernel and the files show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.wall import Wall

LIMITS = (
    *("--ulimit", "nofile=100:200", "--ulimit", "core=0", "--oom-score-adj", "300", "--umask", "0077"),
    *("--group-add", "7", "--group-add", "8", "--memory", "64m", "--memory-swap", "64m", "--cpu-shares", "512"),
    *("--cpuset-cpus", "0", "--shm-size", "32m", "--tmpfs", "/run:size=1m,exec", "--tmpfs", "/a/b"),
)
LIMITS_SCRIPT = """ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; umask; id -G
grep Cpus_allowed_list /proc/self/status
grep -E '^[a-z]+ /(dev/shm|run|a/b) ' /proc/mounts | cut -d' ' -f2,4 | sort"""
NAMES = (
    *("--add-host", "db:10.9.8.7", "--dns", "9.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:1"),
    *("--domainname", "example.org", "-h", "box", "--mac-address", "02:11:22:33:44:55", "--network", "bridge"),
    *("--add-host", "outside=host-gateway", "--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=9000"),
)
NAMES_SCRIPT = """cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/kernel/domainname
cat /sys/class/net/eth0/address; hostname -f; ping -c1 -w9 outside >/dev/null && echo reached; cat /etc/resolv.conf
grep db /etc/hosts"""


@pytest.mark.parity(
    "`--ulimit`, `--oom-score-adj`, `--umask`, `--group-add`, `--memory-swap`, `--cpu-shares`, `--cpuset-cpus`, "
    "`--shm-size`, `--tmpfs`"
)
def test_limits_of_the_process_and_file_systems_in_memory_are_as_asked(wall: Wall) -> None:
    result = wall.run(*LIMITS, "busybox", "sh", "-c", LIMITS_SCRIPT)
    lines = result.stdout.splitlines()
    assert lines[:6] == ["100", "200", "0", "300", "0077", "0 7 8"], result
    assert lines[6].split() == ["Cpus_allowed_list:", "0"]
    mounts = {path: set(options.split(",")) for path, options in (line.split() for line in lines[7:])}
    assert {"size=32768k", "nosuid"} <= mounts["/dev/shm"]
    assert "size=1024k" in mounts["/run"] and "noexec" not in mounts["/run"]
    assert {"noexec", "nosuid", "nodev"} <= mounts["/a/b"]


@pytest.mark.parity(
    "`--add-host`, `--dns`, `--dns-search`, `--dns-option`, `--domainname`, `--mac-address`, `--cidfile`, "
    "`--sysctl` of a namespace"
)
def test_names_addresses_and_settings_of_the_kernel_are_as_asked(wall: Wall, tmp_path: Path) -> None:
    identity = tmp_path / "id"
    words = wall.words("--name", "asked", "--cidfile", str(identity), *NAMES, "busybox", "sh", "-c", NAMES_SCRIPT)
    result = wall(*words)
    assert result.stdout.splitlines() == [
        *("1", "9000", "example.org", "02:11:22:33:44:55", "box.example.org", "reached"),
        *("nameserver 9.9.9.9", "search example.org", "options ndots:1", "10.9.8.7\tdb"),
    ], result
    assert identity.read_text() == wall("inspect", "asked", check=True).json()[0]["id"]
    again = wall(*wall.words("--cidfile", str(identity), "busybox", "true"))
    assert (again.exit_code, "--cidfile" in again.stderr) == (125, True)


@pytest.mark.parity("`--device` of the workload's kernel")
def test_a_device_is_given_with_its_access_and_no_other(wall: Wall) -> None:
    script = "(exec < /dev/log) && echo read; (exec > /dev/log) || echo refused"
    words = ("--cap-add", "SYSLOG", "--device", "/dev/kmsg:/dev/log:r", "busybox", "sh", "-c", script)
    assert wall.run(*words).stdout.splitlines() == ["read", "refused"]
    missing = wall.run("--device", "/dev/nonexistent", "busybox", "true")
    assert (missing.exit_code, "/dev/nonexistent: No such file" in missing.stderr) == (125, True)
    common = ("--device", "/dev/zero:/dev/foo", "--device", "/dev/null", "--user", "1000", "busybox", "sh", "-c")
    assert wall.run(*common, "head -c 3 /dev/foo | wc -c; echo x > /dev/null && echo gone").stdout == "3\ngone\n"


@pytest.mark.parity("`--sysctl` of the whole kernel", unlike="a container shares its kernel with the host")
def test_a_setting_of_the_whole_kernel_is_a_virtual_machines_alone(wall: Wall) -> None:
    result = wall.run("--sysctl", "vm.swappiness=11", "busybox", "cat", "/proc/sys/vm/swappiness")
    if wall.isolation == "vm":
        assert result.stdout == "11\n", result
    else:
        assert (result.exit_code, "shares with the host" in result.stderr) == (125, True)


@pytest.mark.parity(
    "`--device` of the host's kernel", refused="the host's kernel drives it, and the guest has another kernel"
)
def test_a_device_of_the_host_is_refused_to_a_virtual_machine_with_the_reason(wall: Wall) -> None:
    result = wall.run("--device", "/dev/fuse", "busybox", "test", "-c", "/dev/fuse")
    if wall.isolation == "vm":
        assert (result.exit_code, "has its own kernel" in result.stderr) == (125, True)
    else:
        assert result.exit_code == 0, result


@pytest.mark.parity("stop")
def test_stop_takes_as_long_as_the_workload_was_made_for(wall: Wall) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    wall.detached("--name", "stubborn", "--stop-timeout", "0", "busybox", "sh", "-c", script)
    wall.wait_for_log("stubborn", "ready\n")
    wall("stop", "stubborn", check=True)
    assert wall("wait", "stubborn").stdout == "137\n"


INIT_SCRIPT = """(sleep 0.1 &); sleep 0.4; cat /proc/1/cmdline | tr '\\0' ' '; echo $$
grep -l '^State:.Z' /proc/*/status 2>/dev/null"""


@pytest.mark.parity("`--init`")
def test_a_first_process_reaps_passes_signals_on_and_ends_as_the_program_does(wall: Wall) -> None:
    result = wall.run("--init", "busybox", "sh", "-c", f"{INIT_SCRIPT}; exit 5")
    assert (result.exit_code, result.stdout.split()[-2:]) == (5, ["init", "2"]), result
    assert wall.run("--init", "busybox", "sh", "-c", "kill -KILL $$").exit_code == 137
    assert wall.run("--init", "busybox", "nosuchprogram").exit_code == 127
    script = "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    wall.detached("--init", "-u", "1000", "--name", "served", "busybox", "sh", "-c", script)
    wall.wait_for_log("served", "ready\n")
    assert wall("exec", "served", "ls", "/proc/1/fd").stdout == ""
    wall("stop", "-t", "30", "served", check=True)
    assert wall("wait", "served").stdout == "3\n"


@pytest.mark.parity("`exec -w` of a directory that is not there")
def test_exec_makes_no_directory_of_work(wall: Wall) -> None:
    wall(*wall.words("-d", "--name", "works", "busybox", "sleep", "100"), check=True)
    missing = wall("exec", "-w", "/nosuch", "works", "pwd")
    assert (missing.exit_code, "exec -w /nosuch: no such file or directory" in missing.stderr) == (127, True), missing
    file = wall("exec", "-w", "/etc/passwd", "works", "pwd")
    assert (file.exit_code, "exec -w /etc/passwd: Not a directory" in file.stderr) == (126, True), file
    relative = wall("exec", "-w", "tmp", "works", "pwd")
    assert (relative.exit_code, "'tmp' is not absolute" in relative.stderr) == (125, True), relative
    assert wall("update", "--pids-limit", "99999999999", "works").stderr.startswith(
        "twinhull: --pids-limit 99999999999 is"
    )
    assert wall("exec", "works", "ls", "-d", "/nosuch").exit_code == 1
    assert wall("exec", "-w", "/tmp", "works", "pwd", check=True).stdout == "/tmp\n"
    wall("rm", "-f", "works", check=True)


@pytest.mark.parity("a script's missing interpreter is named")
def test_a_script_whose_interpreter_is_missing_names_it(wall: Wall, tmp_path: Path) -> None:
    for name, first in (("gone", b"#! /no/such -x\n"), ("dos", b"#!/bin/sh\r\n")):
        (tmp_path / name).write_bytes(first)
        (tmp_path / name).chmod(0o755)
    volume = ("-v", f"{tmp_path}:/m", "-e", "PATH=/bin:/m", "busybox")
    gone, dos = wall.run(*volume, "gone"), wall.run(*volume, "/m/dos")
    assert (gone.exit_code, dos.exit_code) == (127, 127)
    assert "exec /m/gone: its interpreter /no/such: no such file or directory" in gone.stderr
    assert "exec /m/dos: its interpreter /bin/sh?: no such file or directory" in dos.stderr


@pytest.mark.parity("a file on a directory, and the other way round, are refused")
def test_a_volume_of_another_kind_than_what_is_there_says_so(wall: Wall, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for volume, said in ((f"{tmp_path}/file:/etc", "Is a directory"), (f"{tmp_path}:/etc/passwd", "Not a directory")):
        done = wall.run("-v", volume, "busybox", "true")
        assert done.exit_code == 125
        assert f"bind {volume.partition(':')[2]}: {said}" in done.stderr
        assert "one is a directory and the other a file" in done.stderr
