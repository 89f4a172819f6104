"""Other measurements at the same time: they are seen while they run, and each is told of once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twinhull.compare import beside

SOURCE = Path(beside.__file__).parents[2]
MEASURES = """
import sys; sys.path.insert(0, sys.argv[1])
from twinhull.compare import beside
with beside.announced("compare"):
    print("here", flush=True); sys.stdin.read()
"""


def test_another_one_is_seen_as_long_as_it_runs() -> None:
    words = [sys.executable, "-c", MEASURES, str(SOURCE)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"here\n"
        seen = beside.others()
        other.kill()
    assert seen.get(other.pid) == "compare"
    assert other.pid not in beside.others(), "killed, and nothing is left of it"


def test_a_process_is_not_beside_itself() -> None:
    with beside.announced("prove"), beside.announced("prove"):
        assert os.getpid() not in beside.others()


def test_other_names_of_the_table_are_none() -> None:
    row = "0000000000000000: 00000002 00000000 00010000 0002 01 35"
    names = (
        "",
        " @other",
        f" @{beside.NAME}",
        f" @{beside.NAME}compare-x",
        f" @{beside.NAME}rm-5",
        f" /@{beside.NAME}compare-5",
    )
    assert beside.parse("\n".join(f"{row}{name}" for name in names), 1) == {}
    assert beside.parse(f"{row} @{beside.NAME}prove-77\n", 1) == {77: "prove"}


def test_each_is_told_of_once() -> None:
    limits: list[str] = []
    assert len(beside.note(limits, [(5, "compare")])) == 1
    assert beside.note(limits, [(5, "compare"), (6, "prove")]) == limits[1:]
    assert limits[0] == "Another comparison runs on this machine (process 5): the figures of both are disturbed."
