"""A verb that is asked to end undoes what it began, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

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


def test_sigterm_unwinds_and_a_second_one_does_not_cut_that_short() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        place = process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
    assert subprocess.run(["test", "-e", place], check=False).returncode == 1
