"""A small model of the life of workloads, and a machine that compares it with the real command.

The machine does what users and bad luck do: verbs in any order, kill -9 of the shim at named points and of the
command at random moments. After something was killed the model does not know what has happened; it adopts what the
command says, as long as that is a state which could have come about.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support import leaks
from tests.support.command import TEST_LAUNCHER, Twinhull

NAMES = ("one", "two", "three")
# Fault points of the launcher built for tests (launcher/*.c, FAULT).
SHIM_POINTS = ("after-seal", "after-lock", "after-host", "after-child", "after-ready", "after-start", "after-exec")
END_POINTS = ("before-record", "record-written", "after-record", "after-undo", "after-mark")
SETTLE_S = 10.0
FOREVER = ("busybox", "sleep", "1000")

names = st.sampled_from(NAMES)
networks = st.sampled_from(("none", "bridge", "host"))


def shim_of(root: Path, identity: str) -> int | None:
    """The pid of a workload's supervisor: the process of ours that has the instance directory open."""
    directory = str(root / "state/instances" / identity)
    for pid in leaks.descendants(os.getpid()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"shim" in words and os.readlink(f"/proc/{pid}/fd/5") == directory:
                return pid
    return None


class LifeMachine(RuleBasedStateMachine):
    """Workloads of one isolation, each with the statuses that it may be in."""

    isolation = "container"
    patience_s = 60.0

    def __init__(self) -> None:
        super().__init__()
        leaks.reap()
        self.before = leaks.look()
        self.folder = Path(tempfile.mkdtemp(prefix="twinhull-life-"))
        self.twinhull = Twinhull(self.folder, settings={"launcher": str(TEST_LAUNCHER)})
        self.model: dict[str, str] = {}  # name -> created, running or exited
        self.brief: set[str] = set()  # those whose command ends at once

    def run(self, *words: str, fault: str = "") -> int:
        """Run a command and return its status; no command may end in a way that nobody thought of."""
        result = self.twinhull(*words, timeout_s=self.patience_s, variables={"TWINHULL_FAULT": fault})
        assert "this is a bug" not in result.stderr, f"twinhull {' '.join(words)}: {result.stderr}"
        return result.exit_code

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every workload as the command shows it."""
        return {row["name"]: row for row in self.twinhull("ps", "-a", "--format", "json", check=True).json()}

    def adopt(self, name: str, *possible: str) -> None:
        """Take over what became of one workload; "" in `possible` means that it may be gone."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            status = self.rows().get(name, {"status": ""})["status"]
            if status in possible or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert status in possible, f"{name} is {status or 'gone'}, which cannot be: {possible}"
        self.model.pop(name, None)
        if status:
            self.model[name] = "exited" if status == "lost" else status

    def new(self, verb: str, name: str, network: str) -> tuple[str, ...]:
        """The words that make a workload."""
        if name not in self.model:
            self.brief.discard(name)
        network = "none" if self.isolation == "vm" and network == "host" else network
        return (*verb.split(), "--isolation", self.isolation, "--network", network, "--name", name, *FOREVER)

    @initialize()
    def image_is_here(self) -> None:
        """The first command makes the state directory and the embedded image."""
        assert self.run("run", "--rm", "--network", "none", "busybox", "true") == 0

    @rule(name=names, network=networks)
    def create(self, name: str, network: str) -> None:
        code = self.run(*self.new("create", name, network))
        assert code == (125 if name in self.model else 0)
        self.model.setdefault(name, "created")

    @rule(name=names, network=networks)
    def run_detached(self, name: str, network: str) -> None:
        code = self.run(*self.new("run -d", name, network))
        assert code == (125 if name in self.model else 0)
        self.model.setdefault(name, "running")

    @rule(status=st.integers(0, 255), network=networks)
    def run_to_the_end(self, status: int, network: str) -> None:
        network = "none" if self.isolation == "vm" and network == "host" else network
        words = ("run", "--rm", "--isolation", self.isolation, "--network", network, "busybox", "sh", "-c")
        assert self.run(*words, f"exit {status}") == status

    @rule(name=names)
    def start(self, name: str) -> None:
        known = self.model.get(name)
        code = self.run("start", name)
        assert (code == 0) == (known in ("created", "exited")), f"start of one that is {known}: {code}"
        if known and name in self.brief:
            self.adopt(name, "exited")
        elif known:
            self.model[name] = "running"

    @rule(name=names)
    def stop(self, name: str) -> None:
        known = self.model.get(name)
        assert (self.run("stop", "-t", "0", name) == 0) == (known is not None)
        if known == "running":
            self.model[name] = "exited"

    @rule(name=names)
    def kill(self, name: str) -> None:
        running = self.model.get(name) == "running"
        assert (self.run("kill", name) == 0) == running
        if running:
            self.model[name] = "exited"
            assert self.run("wait", name) == 0

    @rule(name=names)
    def remove(self, name: str) -> None:
        removable = self.model.get(name) in ("created", "exited")
        assert (self.run("rm", name) == 0) == removable
        if removable:
            del self.model[name]

    @rule(name=names)
    def remove_by_force(self, name: str) -> None:
        assert self.run("rm", "-f", name) == 0
        self.model.pop(name, None)

    @rule(name=names, status=st.integers(0, 124))
    def execute(self, name: str, status: int) -> None:
        code = self.run("exec", name, "sh", "-c", f"exit {status}")
        assert code == (status if self.model.get(name) == "running" else 125)

    @rule(name=names)
    def logs(self, name: str) -> None:
        assert (self.run("logs", name) == 0) == (name in self.model)

    @rule(name=names, network=networks, point=st.sampled_from(SHIM_POINTS))
    def shim_dies_while_it_starts(self, name: str, network: str, point: str) -> None:
        known = name in self.model
        self.run(*self.new("run -d", name, network), fault=point)
        if not known:
            self.adopt(name, "", "created", "lost", "exited")

    @rule(name=names, point=st.sampled_from(END_POINTS))
    def shim_dies_at_the_end(self, name: str, point: str) -> None:
        if name in self.model:
            return
        self.run("run", "-d", "--isolation", self.isolation, "--name", name, "busybox", "true", fault=point)
        self.brief.add(name)
        self.adopt(name, "exited", "lost")

    @rule(name=names)
    def shim_is_killed(self, name: str) -> None:
        row = self.rows().get(name)
        pid = shim_of(self.folder, row["id"]) if row else None
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL)
        self.adopt(name, "exited", "lost")

    @rule(name=names, network=networks, after_ms=st.integers(0, 80))
    def command_is_killed(self, name: str, network: str, after_ms: int) -> None:
        known = name in self.model
        words = self.new("run -d", name, network)
        process = self.twinhull.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(after_ms / 1000)
        process.kill()
        process.wait()
        if not known:
            self.adopt(name, "", "created", "running", "lost", "exited")

    @invariant()
    def the_list_says_what_the_model_says(self) -> None:
        shown = {name: "exited" if row["status"] == "lost" else row["status"] for name, row in self.rows().items()}
        assert shown == self.model

    def teardown(self) -> None:
        """Remove everything; nothing may stay on the host."""
        self.twinhull.remove_all()
        left = leaks.wait_clean(self.before)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not left, f"left behind on the host:\n{leaks.report(left)}"


class VmLifeMachine(LifeMachine):
    """The same life behind the other wall."""

    isolation = "vm"
    patience_s = 120.0
