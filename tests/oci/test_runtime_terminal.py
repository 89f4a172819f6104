"""`twinhull-oci run` with a terminal whose other end goes away, or which is told to end."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.support.oci import PATIENCE_S, Container


def run(ours: Container, script: str, stdout: int) -> subprocess.Popen[bytes]:
    """Run a script on a terminal of its own, as the leader of a session."""
    ours.sh(script).spec["process"]["terminal"] = True
    ours.write()
    words = ours.argv("run", "--bundle", str(ours.bundle), ours.id)
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True
    )


def test_a_container_ends_with_the_terminal_that_it_was_shown_on(ours: Container) -> None:
    shown, written = os.pipe()
    with run(ours, "while :; do echo still here; sleep 0.05; done", written) as running:
        os.close(written)
        assert os.read(shown, 5) == b"still"
        os.close(shown)
        assert running.wait(PATIENCE_S) != 0
    assert ours.do("state", ours.id, check=False).returncode == 1


def test_a_signal_is_passed_on_to_a_container_with_a_terminal(ours: Container) -> None:
    shown, written = os.pipe()
    with run(ours, "trap 'exit 7' HUP; echo ready; while :; do sleep 0.05; done", written) as running:
        os.close(written)
        assert os.read(shown, 5) == b"ready"
        running.send_signal(signal.SIGHUP)
        assert running.wait(PATIENCE_S) == 7
    os.close(shown)
    assert ours.do("state", ours.id, check=False).returncode == 1
