"""What the host lets a whole QEMU take, whatever its workload's own limits: the guest's memory, and what QEMU needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import machine, status, wait_until
from twinhull.plan.jail import OVERHEAD_BYTES, THREADS
from twinhull.runtime import sandbox
from twinhull.runtime.jailed import Started, guest_error
from twinhull.runtime.vm import first_line

GUEST_BYTES = 256 << 20
# Its memory, up to what its kernel needs; code of many programs; eight files written and read at once.
GREEDY = """
    mount -o remount,size=200m /dev/shm; dd if=/dev/zero of=/dev/shm/fill bs=1M count=110 2>/dev/null
    for i in 1 2 3 4 5 6 7 8; do
        (dd if=/dev/zero of=/big$i bs=1M count=40; sync; cat /big$i) >/dev/null 2>&1 &
    done
    for word in $(busybox --list); do timeout 2 busybox $word --help </dev/null >/dev/null 2>&1; done
    wait
    echo survived
"""


def groups(pid: int) -> dict[str, Path]:
    """The directory of a process's group by controller, of either version."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for top in (f"/sys/fs/cgroup/{controllers}",) if controllers else ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            if Path(top + path).is_dir():
                found[controllers] = Path(top + path)
                break
    return found


def value(pid: int, controller: str, *names: str) -> str:
    """What the first of these files says, in the group that has it."""
    for key in (controller, ""):
        for name in names:
            if key in groups(pid) and (file := groups(pid)[key] / name).exists():
                return file.read_text().strip()
    raise AssertionError(f"no group of {pid} has {names}")


def limits(pid: int) -> tuple[str, str]:
    return value(pid, "memory", "memory.max", "memory.limit_in_bytes"), value(pid, "pids", "pids.max")


EXPECTED = (str(GUEST_BYTES + OVERHEAD_BYTES), str(THREADS + 1))


@pytest.mark.parametrize("words", [(), ("--no-template",)], ids=["template", "booted"])
def test_every_qemu_has_a_limit_of_memory_and_of_threads(vm: Twinhull, words: tuple[str, ...]) -> None:
    run = ("run", "-d", "--vm", "--network", "none", *words, "busybox", "sleep", "600")
    identity = vm(*run, timeout_s=120, check=True).stdout.strip()
    assert limits(machine(vm, identity).qemu) == EXPECTED


def test_so_has_a_copy(vm: Twinhull) -> None:
    run = ("run", "-d", "--vm", "--network", "none", "--name", "box", "busybox", "sleep", "600")
    vm(*run, timeout_s=120, check=True)
    (copy,) = vm("fork", "box", timeout_s=120, check=True).stdout.split()
    assert limits(machine(vm, copy).qemu) == EXPECTED


def test_so_has_the_guest_that_becomes_a_template(tmp_path: Path, nothing_is_left_behind: None) -> None:
    command = Twinhull(tmp_path)
    process = command.popen("vm", "warm")
    seen: set[tuple[str, str]] = set()

    def looked() -> bool:
        for directory in (tmp_path / "state/templates").glob(".*"):
            for pid in pids_of(directory.name.strip(".").partition(".")[0]):
                seen.add(limits(pid))
        return bool(seen) or process.poll() is not None

    wait_until(looked, "the guest that is saved")
    assert process.wait(120) == 0
    command.remove_all()
    assert seen == {EXPECTED}


def pids_of(key: str) -> list[int]:
    """The processes in the groups of a template that is being made."""
    found = []
    for top in ("/sys/fs/cgroup/unified/twinhull", "/sys/fs/cgroup/twinhull"):
        for group in Path(top).glob(f"template-{key}-*/cgroup.procs"):
            found += [int(pid) for pid in group.read_text().split()]
    return found


def test_a_guest_that_uses_all_that_it_has_is_not_killed(vm: Twinhull, capsys: pytest.CaptureFixture[str]) -> None:
    run = ("run", "-d", "--vm", "--network", "none", "--privileged", "--name", "box", "busybox", "sleep", "600")
    identity = vm(*run, timeout_s=120, check=True).stdout.strip()
    pid = machine(vm, identity).qemu
    assert vm("exec", "box", "sh", "-c", GREEDY, timeout_s=300).stdout == "survived\n"
    peak = int(value(pid, "memory", "memory.peak", "memory.max_usage_in_bytes"))
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    own = status(pid, "RssAnon")
    with capsys.disabled():
        print(f"\nat most {peak >> 20} of {int(EXPECTED[0]) >> 20} MiB, {own} of it not of files; {threads} threads")
    assert vm("exec", "box", "echo", "here", check=True).stdout == "here\n"


@pytest.mark.parametrize("words", [(), ("--no-template",)], ids=["template", "booted"])
def test_programs_have_the_limits_that_docker_gives(vm: Twinhull, words: tuple[str, ...]) -> None:
    script = "grep -E 'open files|max user|Max processes' /proc/self/limits"
    run = ("run", "-d", "--vm", "--network", "none", "--name", "box", *words, "busybox")
    vm(*run, "sh", "-c", f"{script}; sleep 600", timeout_s=120, check=True)
    wait_until(lambda: "files" in vm("logs", "box").stdout, "the limits")
    for told in (
        vm("logs", "box"),
        vm("exec", "box", "sh", "-c", script),
        vm("exec", "-u", "9", "box", "sh", "-c", script),
    ):
        processes, files = (line.split()[-3:-1] for line in told.stdout.splitlines())
        assert (processes, files) == (["unlimited"] * 2, ["1048576"] * 2), told


def test_a_limit_that_is_asked_for_takes_the_place_of_that(vm: Twinhull) -> None:
    run = ("run", "--rm", "--vm", "--network", "none", "--ulimit", "nofile=100:200", "busybox")
    told = vm(*run, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -n 200; ulimit -n; ulimit -u", timeout_s=120)
    assert told.stdout.split() == ["100", "200", "200", "unlimited"], told


def test_too_little_of_a_processor_is_refused_before_anything_is_made(vm: Twinhull) -> None:
    for words in (("run", "--rm"), ("create",)):
        refused = vm(*words, "--vm", "--cpus", "0.02", "busybox", "true", timeout_s=10)
        assert refused.exit_code == 125 and refused.stdout == ""
        assert "twinhull: --cpus 0.02: a virtual machine comes up in time with 0.05 or more\n" in refused.stderr
    vm("create", "--vm", "--name", "box", "--cpus", "0.05", "busybox", "true", check=True)
    assert "0.05 or more" in vm("update", "--cpus", "0.04", "box").stderr
    assert vm.names() == ["box"]


def test_a_guest_that_says_nothing_is_told_once(tmp_path: Path) -> None:
    """The words of a template that does not start are those of its QEMU; the end of its console comes behind them."""
    ours, theirs = sandbox.pair()
    ours.close()
    theirs.close()
    started = Started(ours, 0, str(tmp_path), "")
    silent = guest_error(started, "it did not come up in time")
    assert guest_error(started, first_line(silent)).message == "it did not come up in time and said nothing"
    (tmp_path / "console").write_text("PCI: Fatal\n")
    told = guest_error(started, first_line(silent)).message
    assert told == "it did not come up in time: its console ends with\n  PCI: Fatal"


# The processes that fail to get memory are killed by the kernel: the guest's, or for QEMU the host's.
GROWS = ("sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")
RUN_BOX = ("run", "-d", "--vm", "--network", "none", "--name", "box")


def ending(vm: Twinhull) -> tuple[int, bool]:
    """How inspect says that it ended."""
    vm("wait", "box", timeout_s=60)
    (found,) = vm("inspect", "box", check=True).json()
    return found["exit_code"], found["oom_killed"]


@pytest.mark.parametrize("words", [("--memory", "32m"), ()], ids=["its limit", "all that the guest has"])
def test_a_workload_that_takes_more_memory_than_there_is_inside_is_shown_as_killed_for_it(
    vm: Twinhull, words: tuple[str, ...]
) -> None:
    vm(*RUN_BOX, *words, "busybox", *GROWS, timeout_s=120, check=True)
    assert ending(vm) == (137, True)


def test_a_workload_that_somebody_killed_is_not(vm: Twinhull) -> None:
    vm(*RUN_BOX, "--memory", "32m", "busybox", "sleep", "600", timeout_s=120, check=True)
    vm("kill", "box", check=True)
    assert ending(vm) == (137, False)


def test_one_whose_qemu_was_killed_for_want_of_memory_is_shown_as_killed_for_it(vm: Twinhull) -> None:
    script = "sleep 3; mount -o remount,size=200m /dev/shm; dd if=/dev/zero of=/dev/shm/fill bs=1M count=150; sleep 600"
    words = (*RUN_BOX, "--cap-add", "SYS_ADMIN", "busybox", "sh", "-c", script)
    qemu = machine(vm, vm(*words, timeout_s=120, check=True).stdout.strip()).qemu
    squeeze(groups(qemu).get("memory") or groups(qemu)[""])
    assert ending(vm) == (137, True)


def squeeze(group: Path) -> None:
    """Leave a group little more memory than it takes now."""
    for name, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        if (group / name).exists():
            (group / name).write_text(str(int((group / usage).read_text()) + (16 << 20)))
