"""kill -9 at every step of twinhull-oci-vm and of what it starts: the state stays true, delete leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.command import TEST_LAUNCHER
from tests.support.oci import TWINHULL_OCI_VM, Container, make_template
from tests.support.vm import wait_until
from twinhull.host.facts import read_facts
from twinhull.plan.jail import Jail, Opened, jail_plan

STEP = Path(__file__).parents[1] / "support/step.py"
CREATE_OPS = ("cgroup2", "cgroup1", "write", "netns", "directory-of-work", "capabilities", "no-new-privileges")
NEVER_DONE = ("exec", "namespaces", "write", "netns")  # its groups and its network are there
OFTEN = ("recv<", "poll<")  # as often as there is something to be read: a step that may not come again
SHIM_POINTS = ("after-lock", "after-host", "after-child", "after-start")
END_POINTS = ("before-record", "record-written", "after-record", "after-undo", "after-mark")


@pytest.fixture(autouse=True)
def held(machine: Container, busybox_image: Path) -> None:
    """What machines start from is there, and its holder is none of what a test leaves."""
    make_template(machine.scratch / "first", busybox_image)


def at_step(container: Container, step: str, verb: str, *words: str) -> int:
    """Run a verb that is killed at a step; its status."""
    _, *argv = container.argv(verb, *words)
    return quiet([os.path.realpath(sys.executable), "-I", str(STEP), step, str(TWINHULL_OCI_VM), *argv])


def with_fault(container: Container, fault: str, verb: str, *words: str) -> int:
    """Run a verb whose launchers kill themselves at a point; its status."""
    argv = [os.path.realpath(sys.executable), "-IS", *container.argv(verb, *words)]
    settings = container.scratch / "faulty.toml"
    settings.write_text(f'launcher = "{TEST_LAUNCHER}"\nvm_template = false\n')
    return quiet(argv, TWINHULL_LAUNCHER=str(TEST_LAUNCHER), TWINHULL_CONFIG=str(settings), TWINHULL_FAULT=fault)


def quiet(argv: list[str], **variables: str) -> int:
    null = subprocess.DEVNULL
    done = subprocess.run(argv, stdin=null, stdout=null, stderr=null, env={**os.environ, **variables}, timeout=60)
    return done.returncode


def steps(container: Container, verb: str, *words: str) -> list[str]:
    """Which steps a verb has; it is done."""
    listed = container.scratch / "steps"
    assert at_step(container, f"list:{listed}", verb, *words) == 0
    return listed.read_text().split()


def create_words(container: Container) -> tuple[str, ...]:
    container.write()
    return ("--bundle", str(container.bundle), container.id)


def status(container: Container) -> str:
    """The state, "" if there is no such container."""
    done = container.do("state", container.id, check=False)
    return container.state()["status"] if done.returncode == 0 else ""


def groups(container: Container) -> list[Path]:
    """What there is of its cgroups."""
    return leaks.groups_named(container.id)


def answers(container: Container) -> bool:
    return container.exec("true", check=False).returncode == 0


def gone(container: Container, before: leaks.Look) -> None:
    """Delete it, and see that nothing is left of it."""
    container.do("delete", "--force", container.id)
    assert (status(container), groups(container)) == ("", [])
    assert not (left := leaks.wait_clean(before)), leaks.report(left)


def stays_true(container: Container) -> str:
    """What the state says is so: created can be started, what runs answers."""
    wait_until(lambda: status(container) != "running" or answers(container), "it runs, or it does not")
    if (found := status(container)) == "created":
        container.start()
        assert answers(container)
    return found


@pytest.mark.slow
def test_a_create_that_is_killed_at_any_step(machine: Container) -> None:
    for step in steps_of_create(machine):
        before = leaks.look()
        assert at_step(machine, step, "create", *create_words(machine)) == -9, step
        assert status(machine) in ("", "creating", "created", "stopped"), step  # ended if nobody kept it
        stays_true(machine)
        gone(machine, before)


def steps_of_create(machine: Container) -> list[str]:
    found = steps(machine, "create", *create_words(machine))
    machine.remove()
    return found


@pytest.mark.slow
def test_a_start_that_is_killed_at_any_step(machine: Container) -> None:
    machine.create()
    found = steps(machine, "start", machine.id)
    machine.remove()
    for step in found:
        before = leaks.look()
        machine.create()
        met = at_step(machine, step, "start", machine.id)
        assert met == -9 or (met == 0 and step.startswith(OFTEN)), step
        assert stays_true(machine) in ("created", "running", "stopped"), step
        gone(machine, before)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["kill", "state", "exec"])
def test_what_runs_goes_on_when_a_verb_is_killed_at_any_step(machine: Container, verb: str) -> None:
    words = {"kill": ("--all", machine.id, "USR1"), "state": (machine.id,), "exec": (machine.id, "true")}[verb]
    before = leaks.look()
    machine.sh("trap : USR1; while :; do sleep 0.1; done").begin()
    for step in steps(machine, verb, *words):
        assert at_step(machine, step, verb, *words) == -9, step
        assert (status(machine), answers(machine)) == ("running", True), step
    gone(machine, before)


@pytest.mark.slow
@pytest.mark.parametrize("force", [True, False])
def test_a_delete_that_is_killed_at_any_step_is_finished_by_the_next(machine: Container, *, force: bool) -> None:
    words = ("--force", machine.id) if force else (machine.id,)

    def until_delete() -> None:
        machine.begin()
        if not force:
            machine.do("kill", machine.id, "KILL")
            machine.await_status("stopped")

    until_delete()
    for step in steps(machine, "delete", *words):
        before = leaks.look()
        until_delete()
        assert at_step(machine, step, "delete", *words) == -9, step
        assert status(machine) in ("", "creating", "running", "stopped"), step
        gone(machine, before)


def test_a_create_whose_launcher_is_killed_fails_and_leaves_nothing(machine: Container) -> None:
    for op in CREATE_OPS:
        before = leaks.look()
        assert with_fault(machine, op, "create", *create_words(machine)) == 1, op
        assert (status(machine), groups(machine)) == ("", []), op
        assert not (left := leaks.wait_clean(before)), f"{op}: {leaks.report(left)}"


def jail_ops() -> list[str]:
    """The kinds of ops that put QEMU into its jail."""
    jail = Jail("0" * 64, "/twinhull/0", "/root", ("qemu",), b"filter", (Opened(20, "/disk", 0),))
    plan = jail_plan(jail, read_facts(), (), ())
    found = dict.fromkeys(op.name for op in (*plan.host, *plan.child))
    return [op for op in found if op not in NEVER_DONE]


def test_a_start_whose_launcher_is_killed_fails_and_what_is_left_can_be_deleted(machine: Container) -> None:
    for point in (*SHIM_POINTS, *jail_ops()):
        before = leaks.look()
        machine.create()
        assert with_fault(machine, point, "start", machine.id) == 1, point
        assert status(machine) in ("created", "stopped"), point
        gone(machine, before)


@pytest.mark.parametrize("point", END_POINTS)
def test_an_end_whose_supervisor_is_killed_is_an_end(machine: Container, point: str) -> None:
    before = leaks.look()
    machine.create()
    assert with_fault(machine, point, "start", machine.id) == 0
    machine.do("kill", machine.id, "KILL")
    machine.await_status("stopped")
    machine.do("delete", machine.id)
    gone(machine, before)


@pytest.mark.parametrize("point", ["kill-cgroup", "remove-cgroup"])
def test_a_delete_whose_launcher_is_killed_is_finished_by_the_next(machine: Container, point: str) -> None:
    before = leaks.look()
    machine.begin()
    assert with_fault(machine, point, "delete", "--force", machine.id) != 0
    assert status(machine) in ("", "stopped", "creating")
    gone(machine, before)
