"""The doctor on this machine: what it says agrees with the kernel, and nothing stays behind."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from pathlib import Path

from tests.support.command import COMMAND
from twinhull.host import attempts, doctor, machine, memory


def links_of_nobody() -> list[str]:
    """The links of the host but for those of workloads and their networks, which other tests make meanwhile."""
    return sorted(name for name in os.listdir("/sys/class/net") if not re.match(r"tw[0-9a-f]{8}|twinhull\d", name))


def test_trials_leave_no_mount_link_or_file_behind(tmp_path: Path) -> None:
    mounts, links = Path("/proc/self/mountinfo").read_text(), links_of_nobody()

    facts = {fact.name: fact for fact in doctor.examine("/no/launcher", str(tmp_path / "state"))}

    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert links_of_nobody() == links
    assert list(tmp_path.iterdir()) == []
    assert facts["launcher"].state == "missing"
    assert facts["root"].state == ("ok" if os.geteuid() == 0 else "missing")


def test_a_state_directory_that_is_in_memory_is_seen_before_it_is_made(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        assert attempts.file_system(str(tmp_path / "not/yet")) == "tmpfs"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert attempts.file_system("/proc/self") == "proc"


def test_a_failed_trial_says_why() -> None:
    assert attempts.open_device("/dev/no-such-device") == "No such file or directory"
    assert attempts.try_command("sh", "-c", "echo first >&2; echo the reason >&2; exit 3") == "the reason"
    assert "no-such-program" in attempts.try_command("no-such-program")


def test_the_holder_of_a_lock_is_found_by_the_file_alone(tmp_path: Path) -> None:
    with (tmp_path / "alive").open("w") as file:
        assert memory.holder(file.name) == 0
        fcntl.flock(file, fcntl.LOCK_EX)
        assert memory.holder(file.name) == os.getpid()


def test_the_cost_of_a_process_tree_counts_every_child() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        assert set(memory.tree(os.getpid())) >= {os.getpid(), child}
        costs = {cost.pid: cost for cost in memory.costs([os.getpid(), child, 0x7FFFFFFF])}
        assert costs.keys() == {os.getpid(), child}
        assert costs[os.getpid()].pss_bytes > 1 << 20
        spent = memory.precise_processor_time([os.getpid()])
        assert spent is None or spent > 0
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


def test_disk_usage_counts_blocks_and_no_holes(tmp_path: Path) -> None:
    empty = memory.disk_bytes(str(tmp_path))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "full").write_bytes(b"x" * 65536)
    os.link(tmp_path / "full", tmp_path / "again")

    assert 65536 <= memory.disk_bytes(str(tmp_path)) - empty < 1 << 20


def test_this_machine_is_described_as_the_kernel_describes_it() -> None:
    here = machine.read_machine()

    assert here.kernel == os.uname().release
    assert here.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert here.host.container_evidence


def test_looking_at_a_fresh_machine_makes_no_state(tmp_path: Path) -> None:
    """A packet is sent through a network that is made for the trial alone."""
    done = subprocess.run(
        [COMMAND, "doctor"],
        env={**os.environ, "TWINHULL_ROOT": str(tmp_path / "fresh")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "root" in done.stdout
    assert list(tmp_path.iterdir()) == []
