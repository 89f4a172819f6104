"""What a virtual machine's preparation leaves when it is killed: nothing, after the next command at the latest."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.support.command import Twinhull

RUN = ("run", "--rm", "--vm", "--network", "none", "busybox", "true")


@pytest.mark.parametrize("point", ["after-host", "after-child", "after-exec"])
def test_a_killed_shim_of_the_probe_or_the_template_leaves_nothing(faulty: Twinhull, point: str) -> None:
    """Each shim of the command dies at the point, the probe's first; the leak check looks at what stays."""
    done = faulty(*RUN, variables={"TWINHULL_FAULT": point}, timeout_s=120)
    assert done.exit_code == 125, done.stderr
    assert [path.name for path in (faulty.root / "run").glob("probe-*")] == []
    assert [path.name for path in (faulty.root / "state/templates").glob(".*")] == []


def test_a_killed_maker_of_a_template_is_cleared_up_by_the_next(faulty: Twinhull) -> None:
    templates = faulty.root / "state/templates"
    with faulty.popen(*RUN, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(templates.glob(".*/alive")):
            assert time.monotonic() < deadline, "no template is being made"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert faulty(*RUN, timeout_s=120).exit_code == 0
    assert [path.name for path in templates.glob(".*")] == []
