"""A wish is weighed or named as not checked; a comparison is cited only where there was one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_advise import HERE, MEASURED, TCG, wishing
from twinhull.advice import report
from twinhull.advice.advise import Advice, advise, document
from twinhull.advice.question import Cost, Measured, Question

SILENT = Measured()
COUNTED = MEASURED._replace(container=MEASURED.container._replace(tasks=2.0))
WISHES = {"start_within_s": 0.2, "instances": 20, "memory_budget_bytes": 1 << 30}


def unmeasured(measured: Measured = SILENT, **wishes: Any) -> tuple[Question, Advice]:
    question = wishing(HERE, **wishes)._replace(measured=measured)
    return question, advise(question)


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({}, []),
        (
            {"start_within_s": 0.2},
            [
                "--start-within 200ms was not checked: no start of a container was measured under this kernel; "
                "twinhull compare app measures it"
            ],
        ),
        (
            {"instances": 2000, "own_kernel": True},
            [
                "--instances 2000 was not checked: no memory of a VM was measured under this kernel and KVM; "
                "twinhull compare app measures it"
            ],
        ),
        (
            {"memory_budget_bytes": 1 << 30, "system": "windows"},
            [
                "--memory-budget 1g was not checked: no memory of a machine was measured under this kernel "
                "and KVM; twinhull compare --subjects container,vm,machine app measures it"
            ],
        ),
    ],
)
def test_a_wish_without_a_figure_is_told_with_the_command_that_measures_it(
    wishes: dict[str, Any], told: list[str]
) -> None:
    question, advice = unmeasured(**wishes)
    assert [row.sentence() for row in advice.not_checked] == told
    shown = " ".join(report.render(question, advice, "", ()).split())
    assert all(f"! {sentence}" in shown for sentence in told)
    rows = document(advice)["not_checked"]
    assert [row["wish"] for row in rows] == [sentence.partition(" was not")[0] for sentence in told]


def test_what_was_measured_is_weighed_and_not_named() -> None:
    assert unmeasured(COUNTED, **WISHES)[1].not_checked == ()
    (row,) = unmeasured(MEASURED, **WISHES)[1].not_checked
    assert (row.wish, row.why) == ("--instances 20", "how many processes and files a container takes was not measured")
    _, partly = unmeasured(MEASURED._replace(container=Cost(0.04)), **WISHES)
    assert [row.wish for row in partly.not_checked] == ["--memory-budget 1g", "--instances 20"]


def test_an_answer_that_is_to_stop_has_nothing_left_to_check() -> None:
    question = wishing(TCG, untrusted=True, **WISHES)._replace(measured=SILENT)
    assert (advise(question).choice, advise(question).not_checked) == ("stop", ())


def test_no_comparison_is_cited_where_there_was_none() -> None:
    assert "measured here" not in str(document(unmeasured()[1])["fired"][0])
    assert "measured here with compare" in str(document(unmeasured(MEASURED)[1])["fired"][0])
