"""The ops that make the process: identity, limits, directory, terminal and exec, as /proc shows them."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import time
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.launch import FAILURE, MOUNTS, PROC, Launch
from twinhull.errors import CommandNotExecutable, CommandNotFound, LaunchError
from twinhull.plan.ops import Op

CHOWN, KILL, SETUID, NET_RAW = 1 << 0, 1 << 5, 1 << 7, 1 << 13
ALLOW, ERRNO_EPERM = 0x7FFF0000, 0x00050001
SYS_MKDIR = 83
NEWUTS = 0x4000000


def refuse_mkdir() -> bytes:
    """A filter: load the number of the call; mkdir answers EPERM, the rest is allowed."""
    instruction = struct.Struct("<HBBI")
    return b"".join(
        [
            instruction.pack(0x20, 0, 0, 0),
            instruction.pack(0x15, 0, 1, SYS_MKDIR),
            instruction.pack(0x06, 0, 0, ERRNO_EPERM),
            instruction.pack(0x06, 0, 0, ALLOW),
        ]
    )


def status(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_the_process_is_the_first_of_its_pid_namespace_and_leads_a_session(launch: Launch) -> None:
    assert launch(launch.root(), "sh", "-c", "echo $$; cut -d' ' -f6 /proc/self/stat") == "1\n1\n"


def test_it_has_default_signals_and_no_descriptor_but_the_standard_streams(launch: Launch) -> None:
    shown = launch(launch.root(), "sh", "-c", "cat /proc/self/status; ls /proc/1/fd; true")
    fields = status(shown)
    assert {fields[key] for key in ("SigBlk", "SigIgn", "SigCgt")} == {"0" * 16}
    assert shown.splitlines()[-3:] == ["0", "1", "2"]


def test_user_groups_and_umask_are_as_asked(launch: Launch) -> None:
    user = Op("user", (1000, 100, struct.pack("<3I", 5, 7, 9)))
    fields = status(launch(launch.root(user, Op("umask", (0o27,))), "cat", "/proc/self/status"))
    assert (fields["Uid"], fields["Gid"]) == ("1000\t1000\t1000\t1000", "100\t100\t100\t100")
    assert fields["Groups"].split() == ["5", "7", "9"]
    assert fields["Umask"] == "0027"


def test_capabilities_of_root_are_exactly_those_of_the_plan(launch: Launch) -> None:
    wanted = CHOWN | KILL | NET_RAW
    fields = status(launch(launch.root(Op("capabilities", (wanted, wanted, wanted, 0, 0))), "cat", "/proc/self/status"))
    assert {int(fields[key], 16) for key in ("CapPrm", "CapEff", "CapBnd")} == {wanted}
    assert {int(fields[key], 16) for key in ("CapInh", "CapAmb")} == {0}


def test_a_user_has_no_capability_but_ambient_ones(launch: Launch) -> None:
    user = Op("user", (1000, 1000, b""))
    bounding = CHOWN | KILL
    for ambient in (0, CHOWN):
        sets = Op("capabilities", (bounding, ambient, ambient, ambient, ambient))
        fields = status(launch(launch.root(user, sets), "cat", "/proc/self/status"))
        assert {int(fields[key], 16) for key in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {ambient}
        assert int(fields["CapBnd"], 16) == bounding


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_seccomp_filter_is_loaded_with_and_without_no_new_privileges(launch: Launch, no_new_privileges: bool) -> None:
    ops = [Op("seccomp", (refuse_mkdir(),)), Op("user", (1000, 1000, b"")), Op("capabilities", (0, 0, 0, 0, 0))]
    plan = launch.root(*ops, *([Op("no-new-privileges")] if no_new_privileges else []))
    shown = launch(plan, "sh", "-c", "cat /proc/self/status; mkdir /tmp 2>&1; echo rc=$?")
    fields = status(shown)
    assert (fields["Seccomp"], fields["NoNewPrivs"]) == ("2", str(int(no_new_privileges)))
    assert "Operation not permitted" in shown
    assert shown.endswith("rc=1\n")


def test_a_damaged_filter_is_refused(launch: Launch) -> None:
    for damaged in (b"1234567", b"\xff" * 8):
        with pytest.raises(LaunchError) as caught:
            launch(launch.root(Op("seccomp", (damaged,))), "true")
        assert (caught.value.op, caught.value.errno) == ("seccomp", errno.EINVAL)


def test_limits_and_oom_score_reach_the_process(launch: Launch) -> None:
    ops = [Op("rlimit", (resource.RLIMIT_NOFILE, 77, 99)), Op("oom-score", (1000 + 250,))]
    shown = launch(launch.root(*ops), "sh", "-c", "cat /proc/self/limits /proc/self/oom_score_adj")
    assert [line.split()[3:5] for line in shown.splitlines() if line.startswith("Max open files")] == [["77", "99"]]
    assert shown.splitlines()[-1] == "250"


def test_names_belong_to_the_uts_namespace(launch: Launch) -> None:
    host = os.uname()
    out = launch(
        launch.root(Op("hostname", ("box",)), Op("domainname", ("example",))),
        "sh",
        "-c",
        "hostname; cat /proc/sys/kernel/domainname",
    )
    assert out == "box\nexample\n"
    assert os.uname() == host
    with pytest.raises(LaunchError) as caught:
        launch(launch.root(Op("hostname", ("box",)), flags=0x20000), "true")
    assert (caught.value.op, caught.value.errno) == ("hostname", errno.EINVAL)


def test_a_sysctl_is_written_although_proc_sys_is_read_only(launch: Launch) -> None:
    ops = [
        Op("read-only", ("/proc/sys",)),
        Op("sysctl", ("kernel.domainname", "one")),
        Op("sysctl", ("fs/mqueue/msg_max", "11")),
    ]
    out = launch(launch.root(*ops), "cat", "/proc/sys/kernel/domainname", "/proc/sys/fs/mqueue/msg_max")
    assert out == "one\n11\n"


def test_a_sysctl_cannot_lead_out_of_proc_sys(launch: Launch) -> None:
    for key in ("../sysrq-trigger", "../../etc/passwd", "/proc/sysrq-trigger"):
        with pytest.raises(LaunchError) as caught:
            launch(launch.root(Op("sysctl", (key, "h"))), "true")
        assert caught.value.op == "sysctl"


def test_the_directory_of_work_is_made_and_entered(launch: Launch) -> None:
    plan = [*launch.root(), Op("directory-of-work", ("/srv/app",))]
    assert launch(plan, "pwd") == "/srv/app\n"


def test_environment_and_arguments_arrive_byte_for_byte(launch: Launch) -> None:
    odd = "a b\n\udcff'\"$"
    plan = [*launch.root(), Op("environment", (f"ODD={odd}",))]
    assert launch(plan, "sh", "-c", 'printf %s "$ODD" | od -An -tx1').split()[-1] == "24"
    out = launch(
        [*plan, *[Op("argument", (word,)) for word in ("printf", "<%s>", "", odd)], Op("exec", ("/bin/printf",))]
    )
    assert out.encode(errors="surrogateescape") == b"<><" + odd.encode(errors="surrogateescape") + b">"


def test_a_bare_name_is_looked_for_in_the_plan_s_path_inside_the_root(launch: Launch) -> None:
    (launch.image / "opt").mkdir()
    (launch.image / "opt/tool").write_text("#!/bin/sh\necho found\n")
    (launch.image / "opt/tool").chmod(0o755)
    plan = [*launch.root(), Op("environment", ("PATH=relative::/none:/opt:/bin",)), Op("argument", ("tool",))]
    assert launch([*plan, Op("exec", ("tool",))]) == "found\n"


@pytest.mark.parametrize("program", ["no-such", "/no/such", "/bin/no-such"])
def test_a_program_that_is_not_there_is_127(launch: Launch, program: str) -> None:
    with pytest.raises(CommandNotFound) as caught:
        launch(launch.root(), program)
    assert (caught.value.op, caught.value.target, caught.value.errno) == ("exec", program, errno.ENOENT)


@pytest.mark.parametrize(
    ("program", "reason"),
    [("/bin", errno.EISDIR), ("/plain", errno.EACCES), ("plain", errno.EACCES), ("/data", errno.ENOEXEC)],
)
def test_a_program_that_cannot_run_is_126(launch: Launch, program: str, reason: int) -> None:
    (launch.image / "plain").write_text("text")
    (launch.image / "bin/plain").write_text("text")
    (launch.image / "data").write_text("text")
    (launch.image / "data").chmod(0o755)
    with pytest.raises(CommandNotExecutable) as caught:
        launch(launch.root(), program)
    assert (caught.value.target, caught.value.errno) == (program, reason)


def test_the_exit_status_is_the_process_s_and_128_plus_its_signal(launch: Launch) -> None:
    assert launch.result(launch.root(), "sh", "-c", "exit 42").exit_code == 42
    plan = launch.root(flags=0x20000 | NEWUTS)
    assert launch.result(plan, "sh", "-c", "kill -TERM $$").exit_code == 128 + signal.SIGTERM


def test_a_terminal_has_its_size_from_the_first_moment_and_is_the_console(launch: Launch) -> None:
    plan = [*launch.root(mounts=MOUNTS), Op("terminal", (33, 77)), Op("user", (1000, 1000, b""))]
    script = "stty size; tty; stat -c '%u %a %t:%T' /dev/pts/0; stat -c %t:%T /dev/console; echo x > /dev/tty"
    out = launch(plan, "sh", "-c", f"{script}; ls /proc/self/fd").split()
    assert out[:6] == ["33", "77", "/dev/pts/0", "1000", "620", "88:0"]
    assert out[6:8] == ["88:0", "x"]
    assert out[8:] == ["0", "1", "2", "3"]


def test_a_terminal_needs_a_devpts_of_the_root(launch: Launch) -> None:
    for mounts in ([PROC], [PROC, Op("filesystem", ("tmpfs", "x", "/dev/pts", 0, ""))]):
        with pytest.raises(LaunchError) as caught:
            launch([*launch.root(mounts=mounts), Op("terminal", (24, 80))], "true")
        assert caught.value.op == "terminal"


def test_the_standard_streams_can_be_opened_by_the_user(launch: Launch) -> None:
    plan = [*launch.root(mounts=MOUNTS), Op("user", (1000, 1000, b""))]
    assert launch(plan, "sh", "-c", "echo x > /proc/self/fd/1") == "x\n"


def test_the_process_dies_with_the_launcher_that_started_it(launch: Launch) -> None:
    user, sets = Op("user", (1000, 1000, b"")), Op("capabilities", (0, 0, 0, 0, 0))
    with launch.start([*launch.root(), user, sets], "sleep", "1000") as process:
        child = wait_for_child(process.pid, "sleep")
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            leaks.reap()
            time.sleep(0.01)
        assert not Path(f"/proc/{child}").exists()


def test_a_plan_without_a_program_and_one_that_is_not_a_plan_are_refused(launch: Launch) -> None:
    result = launch.result(launch.outside())
    assert (result.exit_code, FAILURE.findall(result.stderr)) == (125, [("namespaces", "", str(errno.EINVAL))])
    with pytest.raises(LaunchError) as caught:
        launch([Op("exec", ("/bin/true",)), Op("umask", (0,)), Op("exec", ("/bin/true",))])
    assert caught.value.errno == errno.EBADMSG


def wait_for_child(pid: int, name: str) -> int:
    """Wait until the only child of a process has become a program of this name."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                return int(child)
        time.sleep(0.005)
    raise AssertionError(f"{pid} has no child {name}")
