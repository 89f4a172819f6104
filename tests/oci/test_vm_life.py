"""twinhull-oci-vm: the OCI command line in front of virtual machines, as its callers see it."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import TWINHULL_OCI, Container
from tests.support.vm import machine_in, status, wait_until

MIB = 1 << 20


def test_run_ends_with_the_status_of_a_program_on_another_kernel(machine: Container) -> None:
    done = machine.sh("uname -r; echo err >&2; exit 7").run(check=False)
    assert (done.returncode, done.stderr) == (7, "err\n")
    assert done.stdout.strip() != os.uname().release


def test_what_it_reads_comes_from_the_caller_to_its_end(machine: Container) -> None:
    machine.args("/bin/wc", "-c").write()
    done = machine.do("run", "--bundle", str(machine.bundle), machine.id, stdin="x" * 300_000)
    assert done.stdout.strip() == "300000"


def test_each_state_is_what_callers_know(machine: Container) -> None:
    machine.create("--pid-file", str(machine.scratch / "pid"))
    created = machine.state()
    assert (created["status"], created["pid"]) == ("created", int((machine.scratch / "pid").read_text()))
    assert not machine_is_there(machine)  # it boots at start: the network may come until then
    machine.start()
    assert machine.state()["status"] == "running"
    machine.do("pause", machine.id)
    assert machine.state()["status"] == "paused"
    machine.do("resume", machine.id)
    machine.do("kill", machine.id, "KILL")
    assert machine.await_status("stopped")["pid"] == 0
    machine.do("delete", machine.id)
    assert machine.do("state", machine.id, check=False).returncode == 1


def machine_is_there(container: Container) -> bool:
    return (container.scratch / "state" / container.id / "vm/alive").exists()


def test_a_signal_to_its_process_on_the_host_is_the_programs(machine: Container) -> None:
    machine.sh("trap 'exit 9' TERM; : >/up; while :; do sleep 0.1; done").begin()
    wait_until((machine.bundle / "rootfs/up").exists, "the program is up")
    process = machine.state()["pid"]
    os.kill(process, signal.SIGTERM)
    assert status_of(process) == 9


@pytest.mark.parametrize(
    "number", [signal.SIGABRT, signal.SIGCONT, signal.SIGTSTP, signal.SIGRTMIN + 3, signal.SIGRTMAX]
)
def test_every_signal_that_can_be_caught_is_passed_on(machine: Container, number: int) -> None:
    machine.sh(f"trap 'exit 9' {number}; : >/up; while :; do sleep 0.1; done").begin()
    wait_until((machine.bundle / "rootfs/up").exists, "the program is up")
    process = machine.state()["pid"]
    machine.do("kill", machine.id, str(int(number)))
    assert status_of(process) == 9


def test_a_signal_to_everyone_is_for_every_process_of_the_guest(machine: Container) -> None:
    quiet = "trap ': >/$0' USR1; : >/up$0; while :; do sleep 0.1; done"
    machine.args("/bin/sh", "-c", f"sh -c '{quiet.replace(chr(39), chr(34))}' second & {quiet.replace('$0', 'first')}")
    machine.begin()
    root = machine.bundle / "rootfs"
    wait_until(lambda: (root / "upfirst").exists() and (root / "upsecond").exists(), "both are up")
    machine.do("kill", "--all", machine.id, "USR1")
    wait_until(lambda: (root / "first").exists() and (root / "second").exists(), "both were told")
    assert machine.state()["status"] == "running"


def test_a_machine_has_as_many_processors_as_its_quota(machine: Container) -> None:
    machine.spec["linux"]["resources"]["cpu"] = {"quota": 200_000, "period": 100_000}
    assert machine.output("grep -c ^processor /proc/cpuinfo") == "2\n"


def test_one_without_a_template_boots(machine: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("vm_template = false\n")
    monkeypatch.setenv("TWINHULL_CONFIG", str(tmp_path / "config.toml"))
    assert machine.output("echo booted") == "booted\n"


def status_of(pid: int) -> int:
    """How an orphan ended: the test run is its reaper, as a shim of the caller's would be."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("how", ["the stand-in", "qemu", "the keeper"])
def test_whatever_is_killed_the_rest_ends_with_it(machine: Container, how: str) -> None:
    machine.begin()
    found, stand_in = machine_in(machine.scratch / "state" / machine.id / "vm"), machine.state()["pid"]
    os.kill({"the stand-in": stand_in, "qemu": found.qemu, "the keeper": found.keeper}[how], signal.SIGKILL)
    machine.await_status("stopped")
    wait_until(lambda: ended(found.qemu) and ended(found.relay), "QEMU and the relay have ended")
    machine.do("delete", machine.id)


@pytest.mark.parametrize("after_s", [0.03, 0.06, 0.09, 0.12, 0.15, 0.2])
def test_a_start_that_is_killed_can_be_repeated_or_deleted(machine: Container, after_s: float) -> None:
    machine.create()
    begun = subprocess.Popen(machine.argv("start", machine.id), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    begun.kill()
    begun.wait()
    if machine.state()["status"] == "created":
        machine.start()
        assert machine.exec("true").returncode == 0
    machine.do("delete", "--force", machine.id)


def ended(pid: int) -> bool:
    """True for a process that is gone or waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_delete_force_takes_away_one_that_runs(machine: Container) -> None:
    machine.begin()
    found = machine_in(machine.scratch / "state" / machine.id / "vm")
    machine.do("delete", "--force", machine.id)
    assert ended(found.qemu)
    assert not (machine.scratch / "state" / machine.id).exists()


def test_its_process_is_in_the_containers_cgroup_and_network_and_so_is_the_machine(machine: Container) -> None:
    machine.spec["linux"]["resources"]["memory"] = {"limit": 64 * MIB}
    machine.begin()
    found, stand_in = machine_in(machine.scratch / "state" / machine.id / "vm"), machine.state()["pid"]
    group = f"/twinhull-test/{machine.id}"
    for pid in (stand_in, found.qemu):
        assert group in Path(f"/proc/{pid}/cgroup").read_text()
        assert os.readlink(f"/proc/{pid}/ns/net") == os.readlink(f"/proc/{stand_in}/ns/net")
    assert os.readlink(f"/proc/{stand_in}/ns/net") != os.readlink("/proc/self/ns/net")
    # Around QEMU what a machine takes, and inside what was asked for.
    assert machine.exec("/bin/sh", "-c", "grep MemTotal /proc/meminfo").stdout.split()[1] < str(256 * MIB)
    counted = json.loads(machine.do("events", "--stats", machine.id).stdout)["data"]["memory"]["usage"]
    assert counted["limit"] > 256 * MIB and counted["usage"] > 8 * MIB


def test_more_memory_than_the_limit_is_killed_inside(machine: Container) -> None:
    machine.spec["linux"]["resources"]["memory"] = {"limit": 32 * MIB}
    script = "dd if=/dev/zero of=/dev/null bs=100M count=1"
    assert machine.sh(script).run(check=False).returncode == 137


def test_one_killed_for_memory_inside_is_killed_so_in_its_group_on_the_host(machine: Container) -> None:
    machine.spec["linux"]["resources"]["memory"] = {"limit": 32 * MIB}
    machine.sh("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done").begin()
    process = machine.state()["pid"]
    assert status_of(process) == -signal.SIGKILL
    assert killed_for_memory(machine) == 1


def killed_for_memory(container: Container) -> int:
    """How many processes of its group the kernel has killed for want of memory, in either version."""
    for place, file in (("memory", "memory.oom_control"), ("unified", "memory.events"), (".", "memory.events")):
        if (path := Path(f"/sys/fs/cgroup/{place}/twinhull-test/{container.id}/{file}")).exists():
            return int(dict(line.split() for line in path.read_text().splitlines())["oom_kill"])
    raise AssertionError("no group counts them")


def test_limits_change_inside_and_around_and_none_is_more_than_the_machine(machine: Container) -> None:
    machine.begin()
    machine.do("update", "--memory", "48m", "--pids-limit", "33", "--cpu-share", "512", machine.id)
    group = Path(f"/sys/fs/cgroup/cpu/twinhull-test/{machine.id}/cpu.shares")
    assert not group.exists() or group.read_text() == "512\n"
    assert machine.exec("/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1", check=False).returncode == 137
    for option, told in ((["--memory", "8g"], "memory.limit"), (["--memory-reservation", "8m"], "memory.reservation")):
        assert machine.do("update", *option, machine.id, check=False).returncode == 1
        assert f"linux.resources.{told}" in machine.errors()[-1]
    assert machine.state()["status"] == "running"


@pytest.mark.parametrize(
    ("refused", "field"),
    [
        ({"cpu": {"shares": 300, "quota": 1}}, "cpu.quota"),
        ({"cpu": {"shares": 300}, "pids": {"limit": 1 << 40}}, "pids"),
    ],
    ids=["around", "inside"],
)
def test_limits_stay_as_they_were_where_one_is_refused(machine: Container, refused: dict[str, Any], field: str) -> None:
    machine.begin()
    machine.do("update", "--memory", "48m", "--pids-limit", "-1", "--cpu-share", "512", machine.id)
    group = Path(f"/sys/fs/cgroup/cpu/twinhull-test/{machine.id}/cpu.shares")
    words = ("update", "--resources", "-", machine.id)
    failed = machine.do(*words, check=False, stdin=json.dumps({"memory": {"limit": 160 * MIB}, **refused}))
    assert failed.returncode == 1 and failed.stderr.startswith(f"linux.resources.{field}"), failed.stderr
    assert not group.exists() or group.read_text() == "512\n"
    assert machine.exec("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=80M", "count=1", check=False).returncode == 137


def test_limits_that_come_before_start_are_those_it_boots_with(machine: Container) -> None:
    machine.create()
    machine.do("update", "--memory", "400m", machine.id)
    machine.start()
    assert int(machine.exec("/bin/grep", "MemTotal", "/proc/meminfo").stdout.split()[1]) > 400 << 10


def test_what_it_writes_is_in_the_bundles_root_and_what_is_there_it_sees(machine: Container) -> None:
    (machine.bundle / "rootfs/before").write_text("host\n")
    held = machine.spec["process"]["capabilities"]
    machine.spec["process"]["capabilities"] = {kind: [*names, "CAP_CHOWN"] for kind, names in held.items()}
    assert machine.output("cat /before; echo guest >/after; chown 7:8 /after") == "host\n"
    after = machine.bundle / "rootfs/after"
    assert (after.read_text(), after.stat().st_uid, after.stat().st_gid) == ("guest\n", 7, 8)


def test_binds_are_shared_and_read_only_ones_are_so_for_its_root_as_well(machine: Container, tmp_path: Path) -> None:
    (shared := tmp_path / "shared").mkdir()
    (kept := tmp_path / "kept").write_text("kept\n")
    machine.spec["mounts"] += [
        {"destination": "/data", "type": "bind", "source": str(shared), "options": ["rbind", "rw"]},
        {"destination": "/etc/kept", "type": "bind", "source": str(kept), "options": ["bind", "ro"]},
        {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
    ]
    script = "cat /etc/kept; echo new >/data/new; echo bad 2>/dev/null >/etc/kept; stat -fc %T /scratch"
    assert machine.output(script) == "kept\ntmpfs\n"
    assert ((shared / "new").read_text(), kept.read_text()) == ("new\n", "kept\n")


def test_the_process_is_what_the_spec_says(machine: Container) -> None:
    process = machine.spec["process"]
    process["user"] = {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o77}
    process["cwd"], process["env"] = "/bin", ["PATH=/bin", "A=b c"]
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]
    shown = machine.output(
        "id -u; id -g; id -G; pwd; echo $A; ulimit -n; umask; hostname; grep NoNewPrivs /proc/self/status"
    )
    assert shown.split("\n")[:8] == ["5", "6", "6 7", "/bin", "b c", "99", "0077", "inside"]
    assert shown.split()[-1] == "1"


def test_more_processes_run_beside_the_first_and_end_with_their_status(machine: Container) -> None:
    machine.begin()
    done = machine.do("exec", machine.id, "/bin/sh", "-c", "cat; exit 3", stdin="hello", check=False)
    assert (done.returncode, done.stdout) == (3, "hello")
    assert machine.exec("nonesuch", check=False).returncode == 255
    assert machine.errors()[-1] == 'exec: "nonesuch": executable file not found in $PATH'
    assert machine.do("checkpoint", machine.id, check=False).returncode == 1
    assert machine.errors()[-1] == "checkpoint: of a virtual machine there is none"


def test_an_exec_whose_process_on_the_host_is_killed_is_killed_inside(machine: Container) -> None:
    machine.begin()
    machine.do("exec", "--detach", "--pid-file", str(machine.scratch / "pid"), machine.id, "/bin/sleep", "777")
    pid = int((machine.scratch / "pid").read_text())
    assert "sleep 777" in machine.exec("ps").stdout
    os.kill(pid, signal.SIGKILL)
    assert status_of(pid) == -signal.SIGKILL
    wait_until(lambda: "sleep 777" not in machine.exec("ps").stdout, "it has ended inside")


def test_a_terminal_goes_to_the_console_socket_with_its_size(machine: Container) -> None:
    machine.spec["process"] |= {"terminal": True, "consoleSize": {"height": 31, "width": 97}}
    machine.sh("stty size; read line; echo got $line; tty")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(machine.scratch / "console"))
        listener.listen()
        machine.create("--console-socket", str(machine.scratch / "console"))
        with listener.accept()[0] as taken:
            _, ancillary, _, _ = taken.recvmsg(64, socket.CMSG_SPACE(4))
    master = array.array("i", ancillary[0][2])[0]
    try:
        machine.start()
        os.write(master, b"word\n")
        shown = read_all(master)
    finally:
        os.close(master)
    assert "31 97" in shown and "got word" in shown and "/dev/pts/0" in shown


def read_all(master: int) -> str:
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # nobody has its other end any more
            return shown.decode()
        shown += part


def test_a_program_that_is_not_there_is_told_by_create(machine: Container) -> None:
    assert machine.args("nonesuch").create(check=False).returncode == 1
    assert machine.errors() == ['exec: "nonesuch": executable file not found in $PATH']
    assert not (machine.scratch / "state" / machine.id).exists()


def test_a_program_that_cannot_be_executed_is_told_by_start_and_nothing_runs(machine: Container) -> None:
    (machine.bundle / "rootfs/odd").write_text("no program")
    machine.args("/odd").create()
    assert machine.do("start", machine.id, check=False).returncode == 1
    assert machine.errors() == ['exec: "/odd": permission denied']
    assert machine.state()["status"] == "stopped"


def test_a_program_is_found_through_links_of_the_root(machine: Container) -> None:
    (machine.bundle / "rootfs/first").symlink_to("/second/../bin")
    (machine.bundle / "rootfs/second").mkdir()
    machine.spec["process"]["env"] = ["PATH=/first"]
    assert machine.args("echo", "found").run().stdout == "found\n"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"linux": {"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]}}, "linux.devices[0]"),
        ({"hooks": {"createContainer": [{"path": "/bin/true"}]}}, "hooks.createContainer"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}, "linux.namespaces"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "network"}]}}, "pid is missing"),
        ({"process": {"apparmorProfile": "x"}}, "process.apparmorProfile"),
    ],
)  # fmt: skip
def test_what_no_machine_can_be_is_told_by_its_field(machine: Container, change: dict[str, Any], told: str) -> None:
    for key, value in change.items():
        machine.spec[key] = {**machine.spec.get(key, {}), **value}
    assert machine.create(check=False).returncode == 1
    assert told in machine.errors()[0]


def test_features_are_those_of_a_machine(machine: Container) -> None:
    machine.write()
    shown = json.loads(machine.do("features").stdout)
    assert "createContainer" not in shown["hooks"]
    assert "user" not in shown["linux"]["namespaces"]
    assert "user" in json.loads(machine.do("--isolation", "container", "features").stdout)["linux"]["namespaces"]


def test_what_stands_for_it_on_the_host_has_no_capability_and_cannot_get_one(machine: Container) -> None:
    machine.begin()
    for field in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        assert int(status(machine.state()["pid"], field), 16) == 0, field
    assert status(machine.state()["pid"], "NoNewPrivs") == "1"


def test_hooks_that_run_on_the_host_run_in_their_order(machine: Container, tmp_path: Path) -> None:
    told = tmp_path / "hooks"
    machine.spec["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >>{told}"]}]
        for kind in ("createRuntime", "poststart", "poststop")
    }
    machine.begin()
    machine.do("delete", "--force", machine.id)
    assert told.read_text().split() == ["createRuntime", "poststart", "poststop"]


def test_the_isolation_is_chosen_by_option_annotation_and_name(machine: Container) -> None:
    def kernel(*words: str) -> str:
        machine.sh("uname -r").write()
        general = ["--root", str(machine.scratch / "state")]
        run = ["run", "--bundle", str(machine.bundle), machine.id]
        return subprocess.run([*words, *general, *run], capture_output=True, text=True, check=True).stdout.strip()

    here, by_name = os.uname().release, str(TWINHULL_OCI)
    assert kernel(by_name) == here
    assert kernel(by_name, "--isolation", "vm") != here
    machine.spec["annotations"] = {"dev.twinhull.isolation": "vm"}
    assert kernel(by_name) != here
    assert kernel(by_name, "--isolation=container") == here
    machine.spec["annotations"] = {"dev.twinhull.isolation": "container"}
    assert kernel(f"{by_name}-vm") == here
