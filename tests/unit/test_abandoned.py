"""Which instances a killed comparison has left."""

from __future__ import annotations

import os
import subprocess

from twinhull.compare.abandoned import LABEL, is_abandoned, label


def test_what_a_comparison_that_runs_has_started_is_its_own() -> None:
    assert label() == (LABEL, str(os.getpid()))
    assert not is_abandoned([label()])


def test_what_is_left_of_one_that_has_ended_is_nobodys() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    assert is_abandoned([("other", "label"), (LABEL, str(ended.pid))])


def test_instances_of_others_are_never_touched() -> None:
    assert not is_abandoned([])
    assert not is_abandoned([("com.example.compare", "1"), ("name", "compare-999999999-container-1")])
