"""The table of known ways out is that of the program that tries them, and its answers are read as they are."""

from __future__ import annotations

import re
from pathlib import Path

from twinhull.compare import escapes

PROBES = Path(__file__).parents[2] / "probes"
SAID = {
    "escape-mount": "refused Operation not permitted",
    "escape-bpf": "works ",
    "escape-sysrq": "absent No such file or directory",
    "escape-clock": "untried no answer: ended by signal 14",
    "runs-linux/arm64": "no Exec format error",
    "runs-linux/amd64": "yes ",
}


def outcomes(place: str, name: str) -> dict[str, str]:
    table = escapes.matrix({place: SAID})
    return next(row["outcomes"][place] for row in table if row["name"] == name)


def test_every_trial_of_the_program_is_described_and_no_other() -> None:
    source = "".join(path.read_text() for path in (PROBES / "files.c", PROBES / "calls.c", PROBES / "network.c"))
    trials = re.findall(r'\{"([a-z-]+)", \w+\}', source)
    assert sorted(trials) == sorted(one.name for one in escapes.PROBES)
    assert len(trials) == len(set(trials)) >= 20


def test_every_way_has_a_title_an_attempt_and_a_source() -> None:
    assert all(one.title and one.what and one.source for one in escapes.PROBES)


def test_an_answer_is_read_with_its_reason() -> None:
    assert outcomes("vm", "mount") == {"result": "refused", "detail": "Operation not permitted"}
    assert outcomes("vm", "bpf") == {"result": "works", "detail": ""}
    assert outcomes("vm", "sysrq")["result"] == "absent"


def test_what_gave_no_answer_was_not_tried() -> None:
    assert outcomes("vm", "clock")["result"] == "not tried"
    assert outcomes("vm", "kexec")["result"] == "not tried"


def test_a_place_where_nothing_ran_has_no_outcome() -> None:
    assert escapes.matrix({"vm": {}})[0]["outcomes"] == {}


def test_open_ways_are_counted_among_those_that_were_tried() -> None:
    assert escapes.told(escapes.matrix({"vm": SAID}), "vm") == "1/3 known ways open: bpf"
    assert escapes.told(escapes.matrix({"vm": SAID}), "container") == ""


def test_the_kinds_of_programs_that_ran_are_named() -> None:
    assert escapes.runs(SAID) == "runs linux/amd64 of 2 kinds tried"
    assert escapes.runs({}) == ""
