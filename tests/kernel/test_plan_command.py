"""`twinhull plan` shows what would be done and does nothing."""

from __future__ import annotations

from tests.support.command import Twinhull


def test_a_plan_starts_nothing_and_takes_nothing(twinhull: Twinhull) -> None:
    shown = twinhull("plan", "-p", "8080:80", "busybox", "echo", "hi", check=True).stdout
    assert "argument 'hi'" in shown
    assert twinhull("ps", "--all", "--format", "json", check=True).json() == []
    stages = [row["stage"] for row in twinhull("plan", "--format", "json", "busybox", check=True).json()]
    assert stages == sorted(stages, key=("host", "child", "undo").index)
