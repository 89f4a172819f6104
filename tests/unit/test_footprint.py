"""What waits while it is weighed, and what has ended before that."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twinhull.compare import footprint
from twinhull.compare.findings import Findings, ImageFacts
from twinhull.compare.run import Service
from twinhull.compare.subject import Idle


def test_a_workload_that_ended_in_its_warm_up_does_not_wait() -> None:
    ended, went_on = Service(("stdout",), patience_s=3.0), Service(("stdout",), patience_s=0.0)
    assert footprint.waiting(ended, ("echo", "hi"), "100") == [("sleep", "100")]
    assert footprint.waiting(went_on, ("httpd",), "100") == [("httpd",), ("sleep", "100")]


def test_an_instance_that_has_ended_weighs_nothing_and_is_a_gap(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    findings = Findings(ImageFacts("x"))
    idle = [Idle(f"n{number}", str(tmp_path), ended.pid) for number in range(3)]
    assert footprint.weigh(findings, "container", idle, 0.0) == []
    assert "container.memory_bytes" not in findings.samples
    assert findings.gaps["container.memory_bytes"] == "3 of 3 instances ended at once"
