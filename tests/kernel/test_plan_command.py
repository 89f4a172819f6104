"""`twinhull plan` shows what would be done and does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Twinhull
from twinhull.config import Config
from twinhull.engine.preview import preview
from twinhull.host.memory import holder
from twinhull.host.stack import monitor_pid
from twinhull.model import Request
from twinhull.runtime.hypervisor import Emulator


def test_a_plan_starts_nothing_and_takes_nothing(twinhull: Twinhull) -> None:
    shown = twinhull("plan", "-p", "8080:80", "busybox", "echo", "hi", check=True).stdout
    assert "argument 'hi'" in shown
    assert twinhull("ps", "--all", "--format", "json", check=True).json() == []
    stages = [row["stage"] for row in twinhull("plan", "--format", "json", "busybox", check=True).json()]
    assert stages == sorted(stages, key=("host", "child", "undo").index)


def test_the_plan_of_a_virtual_machine_has_the_command_line_that_its_qemu_gets(twinhull: Twinhull) -> None:
    words = ("--vm", "--network", "none", "--memory", "64m", "busybox", "sleep", "60")
    before = twinhull("plan", *words, check=True).stdout
    assert "# note: no guest kernel is here yet" in before or (twinhull.root / "state/kernels").exists()
    twinhull("run", "-d", "--name", "shown", *words, check=True, timeout_s=200)
    (row,) = twinhull("inspect", "shown", check=True).json()
    supervisor = holder(f"{twinhull.root}/state/instances/{row['id']}/alive")
    argv = Path(f"/proc/{monitor_pid(supervisor)}/cmdline").read_text().split("\0")[:-1]
    twinhull("rm", "-f", "shown", check=True)
    rows = twinhull("plan", "--format", "json", *words, check=True).json()
    host = [row for row in rows if row["place"] == "host"]
    assert [row["args"][0] for row in host if row["op"] == "argument"] == argv
    assert {"tap", "channel", "listen", "root-bind", "no-new-privileges"} <= {row["op"] for row in host}
    assert [row["args"][0] for row in rows if row["place"] == "guest" and row["op"] == "argument"] == ["sleep", "60"]


def test_without_qemu_the_plan_says_what_it_leaves_out(twinhull: Twinhull, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.runtime.hypervisor.EMULATORS", {"amd64": Emulator("qemu-nowhere", "qemu-nowhere")})
    config = Config(state=f"{twinhull.root}/state", run=f"{twinhull.root}/run")
    host, guest = preview(config, Request("twinhull/busybox", ("true",), isolation="vm", network="none"))
    assert (host.ops, host.notes) == ((), ("left out: qemu-nowhere is not installed",))
    assert guest.ops
