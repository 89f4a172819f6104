"""A verb that is asked to end undoes what it began, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, tempfile
from twinhull.cli.ending import undo_on_termination
undo_on_termination()
with tempfile.TemporaryDirectory() as place:
    print(place, flush=True)
    try:
        signal.pause()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_unwinds_and_another_one_does_not_cut_that_short(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        place = process.stdout.readline().strip()
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert subprocess.run(["test", "-e", place], check=False).returncode == 1


def test_a_closed_terminal_is_nothing_to_what_ignores_it() -> None:
    program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{PROGRAM}"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
