"""Guests in waiting, of a pool of one: made behind a start's back, taken by the next, undone when unwanted.

Real QEMU.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.command import COMMAND, Result, Twinhull
from tests.support.vm import machine_in, wait_until
from twinhull.config import Config
from twinhull.host import locks
from twinhull.runtime import container, holder

PLAIN = ("run", "--rm", "--vm", "--network", "none", "busybox")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    """One state directory for the module, so that its template is made once."""
    return Twinhull(tmp_path_factory.mktemp("spare"), settings={"vm_spare": True})


@pytest.fixture
def vm(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    home("vm", "pool", "set", "1", timeout_s=120, check=True)
    yield home
    home("vm", "pool", "drain", check=True)
    home.remove_all()
    wait_until(lambda: not makers(), "the end of the maker")
    wait_until(lambda: not any(locks.is_held(f"{path}/alive") for path in spares(home)), "the end of the spares")


def spares(vm: Twinhull) -> list[Path]:
    """The directories of guests in waiting."""
    folder = vm.root / "state/spares"
    return sorted(folder.iterdir()) if folder.exists() else []


def kept(vm: Twinhull) -> list[Path]:
    """Those that are complete: their shim lives, and their maker is done."""
    if makers():
        return []
    return [path for path in spares(vm) if locks.is_held(f"{path}/alive")]


def waiting(vm: Twinhull) -> Path:
    """Run once, and return the guest in waiting that is there a moment later."""
    if not kept(vm):
        vm(*PLAIN, "true", timeout_s=120, check=True)
    wait_until(lambda: len(kept(vm)) == 1, "a guest in waiting")
    return kept(vm)[0]


def test_the_next_start_is_the_guest_that_waited(vm: Twinhull) -> None:
    spare = waiting(vm)
    identity = vm("run", "-d", "--vm", "--network", "none", "busybox", "sleep", "1000", check=True).stdout.strip()
    assert identity == spare.name
    assert not spare.exists()
    (row,) = vm("inspect", identity, check=True).json()
    assert (row["accelerator"], row["wall"]) == ("tcg", "none (TCG)")
    assert vm("exec", identity, "cat", "/proc/version", check=True).stdout.startswith("Linux version 6.1")
    wait_until(lambda: len(kept(vm)) == 1, "the next guest in waiting")
    assert kept(vm)[0].name != identity


def test_status_output_and_input_are_those_of_any_start(vm: Twinhull) -> None:
    script = "cat; echo err >&2; exit 7"
    waiting(vm)
    done = vm("run", "--rm", "-i", "--vm", "busybox", "sh", "-c", script, stdin="to and fro\n")
    assert done == Result(7, "to and fro\n", "err\n")
    waiting(vm)
    missing = vm(*PLAIN, "/no/such/thing")
    assert missing.exit_code == 127 and "/no/such/thing" in missing.stderr


def test_it_has_the_network_of_the_workload(vm: Twinhull) -> None:
    spare = waiting(vm)
    vm("run", "-d", "--name", "one", "busybox", "sleep", "1000", check=True)
    script = "ping -c1 -W5 one >/dev/null && ip -4 addr show eth0 | grep -c inet && ip route | grep -c default"
    done = vm("run", "--name", "two", "--vm", "busybox", "sh", "-c", script)
    assert done == Result(0, "1\n1\n", "")
    assert vm("inspect", "two", "--format", "json").json()[0]["id"] == spare.name


def test_nothing_of_the_rehearsal_is_left_in_it(vm: Twinhull) -> None:
    script = "ip addr show eth0; ip route; cat /proc/mounts; ps; ls /; df /; cat /sys/block/vda/size"
    spare = waiting(vm)
    inside = vm(*PLAIN, "sh", "-c", script, check=True).stdout
    vm.config.write_text(vm.config.read_text().replace("true", "false"))
    try:
        plain = vm(*PLAIN, "sh", "-c", script, check=True).stdout
    finally:
        vm.config.write_text(vm.config.read_text().replace("false", "true"))
    assert not spare.exists()
    assert "192.0.2" not in inside
    assert comparable(inside) == comparable(plain)


def comparable(text: str) -> list[str]:
    """Without what differs between any two guests: addresses of hardware, free blocks, times."""
    kept = (line for line in text.splitlines() if "link/ether" not in line and not line.startswith(("overlay", "[")))
    return [line for line in kept if "% /" not in line]


def test_two_that_waited_have_secrets_and_the_time_of_their_own(vm: Twinhull) -> None:
    script = "head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid; date +%s"
    found = []
    for _ in range(2):
        waiting(vm)
        time.sleep(2)  # it stands still meanwhile
        found.append(vm(*PLAIN, "sh", "-c", script, check=True).stdout.split())
        assert abs(int(found[-1][-1]) - time.time()) < 5
    assert not set(found[0][:2]) & set(found[1][:2]) - {"-"}


def test_what_is_written_to_its_disk_is_there_after_a_restart(vm: Twinhull) -> None:
    spare = waiting(vm)
    script = "[ -e /kept ] && cat /kept; echo $HOSTNAME >> /kept; exec sleep 1000"
    vm("run", "-d", "--name", "keeps", "--vm", "busybox", "sh", "-c", script, check=True)
    assert not spare.exists()
    wait_until(lambda: vm("exec", "keeps", "ls", "/kept").exit_code == 0, "the file")
    vm("stop", "-t", "1", "keeps", check=True)
    vm("start", "keeps", check=True)
    wait_until(lambda: vm("logs", "keeps").stdout == f"{spare.name[:12]}\n", "the file's content")


@pytest.mark.parametrize(
    "words", [("--memory", "500m"), ("--cpus", "1"), ("-v", "/usr/share:/share"), ("-p", "127.0.0.1:0:80")]
)
def test_what_it_cannot_serve_leaves_it_alone(vm: Twinhull, words: tuple[str, ...]) -> None:
    spare = waiting(vm)
    if words[0] == "-p":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            words = ("-p", f"127.0.0.1:{free.getsockname()[1]}:80")
    assert vm("run", "--rm", "--vm", *words, "busybox", "echo", "hi", timeout_s=120).stdout == "hi\n"
    assert locks.is_held(f"{spare}/alive")


def test_it_serves_a_limit_of_memory_that_its_machine_has(vm: Twinhull) -> None:
    spare = waiting(vm)
    script = "cat /sys/fs/cgroup/memory.max; (tail -c 150m /dev/zero | wc -c) 2>&1; hostname"
    done = vm("run", "--rm", "--vm", "--memory", "100m", "busybox", "sh", "-c", script)
    assert done.stdout.split()[0] == str(100 << 20)
    assert spare.name.startswith(done.stdout.split()[-1])


def test_a_container_leaves_it_alone(vm: Twinhull) -> None:
    spare = waiting(vm)
    assert vm("run", "--rm", "busybox", "echo", "hi").stdout == "hi\n"
    assert kept(vm) == [spare]


def test_one_that_was_taken_for_a_name_in_use_is_undone(vm: Twinhull) -> None:
    waiting(vm)
    vm("run", "-d", "--name", "taken", "busybox", "sleep", "1000", check=True)
    done = vm("run", "--rm", "--vm", "--name", "taken", "busybox", "true")
    assert done.exit_code == 125 and "taken" in done.stderr
    assert not kept(vm)
    assert len(list((vm.root / "state/instances").iterdir())) == 1


def test_one_whose_qemu_died_is_not_given_to_anybody(vm: Twinhull) -> None:
    spare = waiting(vm)
    os.kill(machine_in(spare).qemu, signal.SIGKILL)
    wait_until(lambda: not locks.is_held(f"{spare}/alive"), "the end of its shim")
    assert vm(*PLAIN, "echo", "hi") == Result(0, "hi\n", "")
    assert not spare.exists(), "the next command clears it away"


def test_one_that_does_not_answer_is_followed_by_the_template(vm: Twinhull) -> None:
    spare = waiting(vm)
    os.kill(machine_in(spare).qemu, signal.SIGSTOP)
    script = "ping -c1 -W5 $(ip route | awk '/default/{print $3}') | grep -c from"
    done = vm("run", "--rm", "--vm", "busybox", "sh", "-c", script, timeout_s=120)
    assert (done.exit_code, done.stdout) == (0, "1\n"), done.stderr
    assert "starting from the template instead" in done.stderr


def test_a_supervisor_that_was_killed_leaves_what_the_next_command_clears_away(vm: Twinhull) -> None:
    spare = waiting(vm)
    os.kill(machine_in(spare).keeper, signal.SIGKILL)
    wait_until(lambda: not locks.is_held(f"{spare}/alive"), "the end of its shim")
    assert spare.exists()
    vm("ps", check=True)
    assert not spare.exists()
    assert vm(*PLAIN, "echo", "hi").stdout == "hi\n"


def test_it_ends_with_its_holder(vm: Twinhull) -> None:
    spare = waiting(vm)
    holder.end_all(Config(state=str(vm.root / "state"), run=str(vm.root / "run")))
    wait_until(lambda: not locks.is_held(f"{spare}/alive"), "the end of its shim")
    assert not leaks.groups_named(spare.name)
    assert vm(*PLAIN, "echo", "hi") == Result(0, "hi\n", "")


def test_a_maker_that_was_killed_leaves_what_the_next_command_clears_away(vm: Twinhull) -> None:
    waiting(vm)
    for moment in (0.1, 0.35, 0.5, 0.65):
        vm(*PLAIN, "true", check=True)
        time.sleep(moment)
        for pid in makers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not makers(), "the end of the maker")
        assert vm(*PLAIN, "echo", "hi").stdout == "hi\n"
    waiting(vm)
    assert len(spares(vm)) == 1


def makers() -> list[int]:
    """Processes that make a guest in waiting."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"twinhull-spare"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_many_starts_at_once_take_it_once(vm: Twinhull) -> None:
    spare = waiting(vm)
    started = [
        vm.popen("run", "-d", "--vm", "--network", "none", "busybox", "sleep", "1000", stdout=-1) for _ in range(3)
    ]
    identities = [process.communicate(timeout=120)[0].strip() for process in started]
    assert len(set(identities)) == 3
    assert identities.count(spare.name) == 1
    wait_until(lambda: len(kept(vm)) == 1, "one guest in waiting")


def test_it_is_stopped_paused_and_removed_as_any_other(vm: Twinhull) -> None:
    waiting(vm)
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    name = vm("run", "-d", "--vm", "busybox", "sh", "-c", script, check=True).stdout.strip()
    wait_until(lambda: vm("logs", name).stdout == "ready\n", "the trap")
    assert [row["isolation"] for row in vm("ps", "--format", "json").json()] == ["vm"]
    assert "Hypervisor" in vm("stack", name, check=True).stdout
    vm("stop", name, check=True)
    assert vm("wait", name).stdout.strip() == "3"
    vm("rm", name, check=True)
    assert vm.names() == []


def test_starts_one_right_after_the_other_leave_nothing(vm: Twinhull) -> None:
    for number in range(12):
        assert vm(*PLAIN, "echo", str(number), timeout_s=120).stdout == f"{number}\n"


@pytest.mark.parametrize("moment", [0.03, 0.05, 0.07, 0.09, 0.12])
def test_a_command_that_is_killed_while_it_takes_one_leaves_what_the_next_clears_away(
    vm: Twinhull, moment: float
) -> None:
    spare = waiting(vm)
    process = vm.popen(*PLAIN, "sleep", "1000")
    time.sleep(moment)
    process.kill()
    process.wait()
    for name in vm.names():  # where it had begun already, it goes on
        vm("rm", "--force", name, check=True)
    taken = vm.root / "state/instances" / spare.name
    wait_until(lambda: vm("ps").exit_code == 0 and not taken.exists(), "the end of what was half taken")
    assert not spare.exists() or locks.is_held(f"{spare}/alive")


def test_one_whose_directory_is_gone_is_followed_by_the_template(vm: Twinhull) -> None:
    spare = waiting(vm)
    undo = (spare / "undo").read_bytes()
    shutil.rmtree(spare)
    done = vm(*PLAIN, "echo", "hi", timeout_s=120)
    assert (done.exit_code, done.stdout) == (0, "hi\n"), done.stderr
    left = vm.root / "left"
    left.mkdir()  # nobody can know of its cgroup any more: the test performs its list
    (left / "undo").write_bytes(undo)
    container.undo("", str(left))


def test_one_that_became_a_workload_can_be_copied(vm: Twinhull) -> None:
    spare = waiting(vm)
    identity = vm("run", "-d", "--vm", "busybox", "sleep", "1000", check=True).stdout.strip()
    assert identity == spare.name
    copy = vm("fork", identity, check=True).stdout.strip()
    assert vm("exec", copy, "hostname", check=True).stdout == f"{copy[:12]}\n"


def test_a_caller_of_low_priority_neither_takes_one_nor_makes_one(vm: Twinhull) -> None:
    spare = waiting(vm)
    words = ["nice", "-n", "5", str(COMMAND), *PLAIN, "echo", "hi"]
    done = subprocess.run(words, env=vm.environment(), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "hi\n"
    assert kept(vm) == [spare]


def test_a_supervisor_has_nothing_of_the_command_that_had_it_made(vm: Twinhull) -> None:
    vm.remove_all()
    wait_until(lambda: not makers(), "the end of the maker")
    vm(*PLAIN, "true", timeout_s=120, check=True, variables={"SECRET_OF_MINE": "1"})
    wait_until(lambda: len(kept(vm)) == 1, "a guest in waiting")
    processes = machine_in(kept(vm)[0])
    for pid in processes:
        assert b"SECRET_OF_MINE" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert os.readlink(f"/proc/{pid}/cwd") != os.getcwd()
    assert os.getpriority(os.PRIO_PROCESS, processes.qemu) == 0


def test_a_start_that_fails_is_followed_by_another_guest_in_waiting(vm: Twinhull) -> None:
    spare = waiting(vm)
    assert vm(*PLAIN, "/no/such/thing").exit_code == 127
    wait_until(lambda: len(kept(vm)) == 1, "the next guest in waiting")
    assert kept(vm) != [spare]
