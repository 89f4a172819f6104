"""kill -9 after every op of a plan, as the launcher of the tests does it to itself: nothing is left of the workload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.command import Twinhull
from twinhull.host.facts import read_facts
from twinhull.plan.jail import Jail, Opened, jail_plan

# As many kinds of ops as one workload has.
FLAGS = (
    *("--read-only", "--tmpfs", "/scratch", "--ulimit", "nofile=100:100", "--memory", "64m", "--init", "-t"),
    *("--sysctl", "net.ipv4.ip_forward=1", "--device", "/dev/null:/dev/nothing", "-p", "127.0.0.1:0:80"),
)
LIMITS = {"memory": {"limit": 1 << 30}}
COMMAND = ("busybox", "true")
NEVER_DONE = ("exec", "namespaces")


@pytest.fixture
def flags(tmp_path: Path) -> tuple[str, ...]:
    shared = tmp_path / "shared"
    shared.mkdir()
    return (*FLAGS, "-v", f"{shared}:/shared")


def ops(twinhull: Twinhull, flags: tuple[str, ...], stage: str) -> list[str]:
    """The kinds of ops in a stage of the plan, in their order."""
    rows = twinhull("plan", "--format", "json", *flags, *COMMAND, check=True).json()
    return list(dict.fromkeys(row["op"] for row in rows if row["stage"] == stage))


def rest(twinhull: Twinhull, flags: tuple[str, ...]) -> leaks.Look:
    """What there is once a workload with these flags has come and gone."""
    twinhull("run", "--rm", *flags, *COMMAND, check=True)
    return leaks.look()


def killed(twinhull: Twinhull, flags: tuple[str, ...], op: str) -> None:
    """Start a workload whose launcher dies after the op."""
    done = twinhull("run", "-d", "--rm", *flags, *COMMAND, variables={"TWINHULL_FAULT": op}, timeout_s=60)
    assert (done.exit_code, done.stdout) == (125, ""), (op, done)
    assert done.stderr.startswith("twinhull: "), (op, done)
    assert twinhull.names() == [], op


@pytest.mark.parametrize("stage", ["host", "child"])
def test_a_start_that_is_killed_after_any_op_fails_and_leaves_nothing(
    faulty: Twinhull, flags: tuple[str, ...], stage: str
) -> None:
    before = rest(faulty, flags)
    for op in ops(faulty, flags, stage):
        if op in NEVER_DONE:
            continue
        killed(faulty, flags, op)
        assert not (left := leaks.wait_clean(before)), f"{op}: {leaks.report(left)}"


def jail_ops() -> list[str]:
    """The kinds of ops that put a QEMU with a disk and limits into its jail."""
    jail = Jail("0" * 64, "/twinhull/0", "/root", ("qemu",), b"filter", (Opened(20, "/disk", 0),), resources=LIMITS)
    plan = jail_plan(jail, read_facts(), (), ())
    return list(dict.fromkeys(op.name for op in (*plan.host, *plan.child)))


def test_a_machine_whose_start_is_killed_after_any_op_fails_and_leaves_nothing(faulty: Twinhull) -> None:
    flags = ("--vm", "--no-template", "--memory", "100m", "-p", "127.0.0.1:0:80")
    before = rest(faulty, flags)
    for op in jail_ops():
        if op not in NEVER_DONE:
            killed(faulty, flags, op)
            assert not (left := leaks.wait_clean(before)), f"{op}: {leaks.report(left)}"


def test_an_end_that_is_killed_after_any_op_is_finished_by_the_next_command(
    faulty: Twinhull, flags: tuple[str, ...]
) -> None:
    before = rest(faulty, flags)
    for op in ops(faulty, flags, "undo"):
        faulty("run", "--rm", *flags, *COMMAND, variables={"TWINHULL_FAULT": op})
        assert faulty.names() == [], op
        assert not (left := leaks.wait_clean(before)), f"{op}: {leaks.report(left)}"
