"""`twinhull prove` as a user types it: on a terminal, for programs, interrupted, and where something cannot run."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from tests.claims.conftest import Found
from tests.support import leaks
from tests.support.command import COMMAND, Twinhull

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
QUESTION = "[q] enough? "
PATIENCE_S = 60.0


class Quiz:
    """A quiz on a terminal of its own."""

    def __init__(self, command: Twinhull, *words: str) -> None:
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests in the background of a shell run with it ignored
            os.execve(COMMAND, [str(COMMAND), "prove", "--quiz", *words], command.environment())
        leaks.AWAITED.add(self.pid)

    def read_until(self, text: str) -> str:
        """Return what was shown up to and with `text`; it is taken away."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.text:
            assert select.select([self.fd], [], [], max(deadline - time.monotonic(), 0))[0], self.text
            self.text += os.read(self.fd, 65536).decode(errors="replace").replace("\r\n", "\n")
        before, _, self.text = self.text.partition(text)
        return before + text

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """Wait for its end and return its exit status."""
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_topic_is_checked_alone_and_fits_the_page(command: Twinhull, found: Found) -> None:
    began = time.monotonic()
    done = command("prove", "isolation", check=True)
    assert time.monotonic() - began < 30
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert re.findall(r"^ ?(\d+)  ", done.stdout, re.MULTILINE) == ["7", "8", "9"]
    assert re.search(r"^1? ?\d hold.*\(3 claims, \d+ s\)$", done.stdout, re.MULTILINE)
    accelerator = found.checks[7].evidence.facts["vm.accelerator"]
    assert ("x not here" in done.stdout) == (accelerator == "tcg")


def test_a_command_that_is_shown_can_be_run_again(command: Twinhull, found: Found) -> None:
    shown = found.checks[6].evidence.ran[0].command
    assert shown.startswith("twinhull run --rm")
    again = command(*shown.split()[1:], check=True)
    assert float(again.stdout.split()[0]) > 0


def test_programs_get_the_evidence_with_its_samples(command: Twinhull, found: Found) -> None:
    document = command("prove", "stacks", "--format", "json", check=True).json()
    assert document["schema"] == 1
    assert document["argv"] == ["twinhull", "prove", "stacks", "--format", "json"]
    assert [claim["number"] for claim in document["claims"]] == [21, 22, 23, 24, 25]
    assert sum(document["summary"].values()) == 5
    for claim in document["claims"]:
        assert claim["verdict"] in document["summary"]
        assert claim["why"]
        assert claim["ran"]
    assert document["claims"][2]["samples"]["container.stopped"][0] > 0


def test_what_cannot_be_measured_says_why_and_changes_the_exit_code(command: Twinhull, found: Found) -> None:
    broken = Twinhull(command.root, settings={"vm_kernel": "/no/such/kernel"})
    done = broken("prove", "isolation", "--format", "json")
    command.config.write_text("vm_spare = false\n")

    assert done.exit_code == 4
    verdicts = {claim["number"]: claim for claim in done.json()["claims"]}
    assert verdicts[7]["verdict"] == "not measured"
    assert "/no/such/kernel" in verdicts[7]["why"]
    assert verdicts[8]["verdict"] == "holds"


def test_the_quiz_asks_first_then_measures_and_keeps_the_score(command: Twinhull, found: Found) -> None:
    quiz = Quiz(command, "isolation")
    first = quiz.read_until(QUESTION)
    assert "A virtual machine is strongly isolated." in first
    assert not re.search("holds$|not here$|in part$", first, re.MULTILINE)
    quiz.type("what\n")
    quiz.read_until(QUESTION)
    right = {"holds": "h", "in part": "p", "not here": "n"}
    quiz.type(f"{right[found.checks[7].verdict.holds]}\n")
    assert "Right. 1 of 1 right." in quiz.read_until(QUESTION)
    quiz.type("n\n")
    assert "You said: not here. Measured: holds. 1 of 2 right." in quiz.read_until(QUESTION)
    quiz.type("\x04")
    quiz.read_until("1 of 2 right.")
    assert quiz.end() == 0


def test_interrupted_a_quiz_ends_with_the_score_and_leaves_nothing(command: Twinhull, found: Found) -> None:
    quiz = Quiz(command, "isolation")
    quiz.read_until(QUESTION)
    quiz.type("\x03")
    quiz.read_until("0 of 0 right.")
    assert quiz.end() == 0
    assert command("ps", "--all", "--quiet", check=True).stdout == ""


def test_a_quiz_without_a_terminal_is_refused(command: Twinhull) -> None:
    done = command("prove", "--quiz", stdin="h\n")
    assert done.exit_code == 125
    assert "needs a terminal" in done.stderr
    assert command("prove", "--quiz", "--format", "json").exit_code == 125


def test_an_unknown_topic_is_refused_with_those_there_are(command: Twinhull) -> None:
    done = command("prove", "speed")
    assert done.exit_code == 125
    assert "os, startup, isolation" in done.stderr


def test_the_list_needs_no_machine(command: Twinhull) -> None:
    assert len(command("prove", "--list", "--format", "json", check=True).json()) == 25
    assert "refuted if" in command("prove", "--list", "startup", check=True).stdout


def test_interrupted_it_leaves_no_workload(command: Twinhull, found: Found) -> None:
    process = command.popen("prove", "isolation", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE_S
    while not json.loads(command("ps", "--format", "json", check=True).stdout) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert command("ps", "--all", "--quiet", check=True).stdout == ""
