"""Imprints that are damaged, gone, or cannot be made; and starts that are killed meanwhile. Real QEMU."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Result, Twinhull
from tests.support.imprint import PLAIN, SLEEP, await_imprint, begun, config_of, imprints, is_imprinted, makers, settle
from tests.support.vm import machine, wait_until
from twinhull.engine import spares
from twinhull.runtime import holder

LAUNCHER = Path(__file__).parents[2] / "src/twinhull/bin/launcher"


@pytest.fixture
def vm(imprinting: Twinhull) -> Twinhull:
    """The command, with an imprint to go on from."""
    return imprinting


def test_one_that_is_damaged_is_followed_by_the_template_and_another_is_made(vm: Twinhull) -> None:
    (key,) = imprints(vm)
    config = config_of(vm)
    holder.forget_imprint(config, key)
    bad = os.memfd_create("imprint", os.MFD_CLOEXEC)
    os.ftruncate(bad, 8 << 20)
    os.pwrite(bad, os.urandom(4096), 0)
    assert holder.keep_imprint(config, key, bad)
    os.close(bad)
    done = vm(*PLAIN, "echo", "hi", timeout_s=60)
    assert (done.exit_code, done.stdout) == (0, "hi\n")
    assert "did not go on" in done.stderr and "starting from the template instead" in done.stderr
    await_imprint(vm)
    assert vm(*PLAIN, "echo", "hi") == Result(0, "hi\n", "")


def test_one_of_which_the_end_is_missing_ends_and_is_followed_by_the_template(vm: Twinhull) -> None:
    (key,) = imprints(vm)
    config = config_of(vm)
    lent = holder.lent_imprint(config, key)
    assert lent is not None
    holder.forget_imprint(config, key)
    bad = os.memfd_create("imprint", os.MFD_CLOEXEC)
    os.pwrite(bad, os.pread(lent[1], 2 << 20, 0), 0)  # the tables alone: every page behind them is SIGBUS
    assert holder.keep_imprint(config, key, bad)
    for fd in (bad, *lent):
        os.close(fd)
    done = vm("run", "--rm", "--vm", "busybox", "sh", "-c", "ip addr show eth0 | grep -c inet", timeout_s=60)
    assert (done.exit_code, done.stdout) == (0, "1\n"), done.stderr
    assert "starting from the template instead" in done.stderr
    await_imprint(vm)


def test_without_its_holder_a_start_is_one_from_the_template(vm: Twinhull) -> None:
    holder.end_all(config_of(vm))
    assert vm(*PLAIN, "echo", "hi") == Result(0, "hi\n", "")
    await_imprint(vm)


def test_a_caller_s_priority_is_the_guest_s(vm: Twinhull) -> None:
    words = ["nice", "-n", "5", str(COMMAND), *SLEEP]
    done = subprocess.run(words, env=vm.environment(), capture_output=True, text=True, check=True, timeout=60)
    pid = machine(vm, done.stdout.strip()).qemu
    assert is_imprinted(pid) and os.getpriority(os.PRIO_PROCESS, pid) == 5


def test_starts_at_once_and_one_after_the_other_leave_nothing(vm: Twinhull) -> None:
    running = [vm.popen(*PLAIN, "echo", str(number), stdout=subprocess.PIPE) for number in range(8)]
    assert [process.communicate(timeout=60)[0] for process in running] == [f"{number}\n" for number in range(8)]
    for number in range(8):
        assert vm(*PLAIN, "echo", str(number)).stdout == f"{number}\n"


@pytest.mark.parametrize("moment", [0.03, 0.05, 0.07, 0.09])
def test_a_command_that_is_killed_meanwhile_leaves_what_the_next_clears_away(vm: Twinhull, moment: float) -> None:
    process = vm.popen(*PLAIN, "sleep", "1000")
    time.sleep(moment)
    process.kill()
    process.wait()
    for name in vm.names():
        vm("rm", "--force", name, check=True)
    wait_until(lambda: vm("ps").exit_code == 0 and vm.names() == [], "the end of what was half begun")


def test_warm_leaves_one(vm: Twinhull) -> None:
    words = ("vm", "warm", "--memory", "400m")
    key = vm(*words, check=True, timeout_s=120).stdout.strip()
    assert key in imprints(vm)
    assert "rehearse" not in vm(*words, check=True).stderr, "once"
    assert is_imprinted(begun(vm, "run", "-d", "--vm", "--memory", "400m", "busybox", "sleep", "1000"))


def test_templates_are_listed_with_what_their_imprints_take(vm: Twinhull) -> None:
    rows = vm("vm", "template", "ls", "--format", "json", check=True).json()
    assert [row["key"] for row in rows if row["imprint_bytes"] > 10 << 20] == sorted(
        imprints(vm), key=[row["key"] for row in rows].index
    )
    assert "IMPRINT" in vm("vm", "template", "ls", check=True).stdout


def test_where_none_can_be_made_a_guest_waits_as_before(vm: Twinhull) -> None:
    for key in imprints(vm):
        holder.forget_imprint(config_of(vm), key)
        (vm.root / "run/templates" / key / "no-imprint").write_text("a test\n")
    try:
        vm(*PLAIN, "true", check=True)
        settle(vm)
        assert imprints(vm) == [] and len(makers(vm)) == 1
        (waiting,) = makers(vm)
        assert vm(*SLEEP, check=True).stdout.strip() == waiting
        settle(vm)
    finally:
        spares.let_go(config_of(vm))
        for path in (vm.root / "run/templates").glob("*/no-imprint"):
            path.unlink()
