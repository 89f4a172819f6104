"""What was not taken of a subject that ran is a gap with its reason, and each output tells every reason once."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.support import documents
from twinhull.compare import untaken
from twinhull.compare.findings import Findings, ImageFacts
from twinhull.compare.outputs import document, junit, markdown, text
from twinhull.compare.outputs.html import page
from twinhull.compare.outputs.quantities import QUANTITIES
from twinhull.compare.run import Service
from twinhull.compare.session import QUICK, Session
from twinhull.compare.subjects import NAMES, describe
from twinhull.config import Config

TAKEN = {
    "container": ("first_output_s", "total_s", "clean_s", "exec_s"),
    "vm": ("first_output_s", "init_s"),
    "vm_cold": ("first_output_s", "kernel_s"),
    "podman": ("first_output_s", "exec_s", "stop_s"),
    "plain": ("first_output_s",),
}


@pytest.fixture
def session() -> Session:
    findings = Findings(ImageFacts("busybox"))
    findings.subjects = [describe(name, name, {"crun": "not installed"}) for name in NAMES]
    findings.gap("crun", "not installed")
    findings.gap("vm_template.first_output_s", "nothing came")
    findings.samples = {f"{name}.{key}": [1.0] for name, keys in TAKEN.items() for key in keys}
    return Session([], findings, QUICK, print, Config())


def test_each_quantity_of_each_subject_that_ran_has_samples_or_a_reason(session: Session) -> None:
    findings = session.findings
    untaken.note(session)
    for name in set(NAMES) - {"crun"}:
        keys = {f"{name}.{quantity.key}" for quantity in QUANTITIES}
        assert all((key in findings.samples) != bool(findings.gaps.get(key)) for key in keys), name
    assert [key for key in findings.gaps if key.startswith("crun")] == ["crun"]
    assert findings.gaps["vm_template.total_s"] == "nothing came"
    assert findings.gaps["vm.ready_s"] == untaken.NOT_SEEN


def test_a_side_that_did_not_run_is_told_of_once(session: Session) -> None:
    session.findings.gap("vm", "no QEMU")
    untaken.note(session)
    assert [key for key in session.findings.gaps if key.startswith("vm")] == ["vm_template.first_output_s", "vm"]


@pytest.mark.parametrize(
    ("port", "answered", "says"),
    [(0, False, "no port to ask is known"), (80, False, "nothing answered on port 80"), (80, True, untaken.NOT_SEEN)],
)
def test_why_nothing_answered_is_told(session: Session, port: int, answered: bool, says: str) -> None:
    session.port = port
    session.service = Service(port=port if answered else 0)
    untaken.note(session)
    assert session.findings.gaps["container.healthy_s"].startswith(says)
    assert "no network" in session.findings.gaps["podman.healthy_s"]


def test_each_reason_is_one_line_that_names_all_it_stands_for() -> None:
    gaps = {"a.exec_s": "w", "a.stop_s": "w", "b.exec_s": "w", "b.stop_s": "w", "c.exec_s": "w", "load": "w", "d": "x"}
    assert document.missing(gaps) == [("exec, stop of a, b; exec of c; load", "w"), ("d", "x")]


def test_every_output_tells_them(session: Session) -> None:
    untaken.note(session)
    found: dict[str, Any] = documents.real() | {"gaps": session.findings.gaps}
    pages = [markdown.render(found), page.page(found), junit.render(found), text.render(found)]
    for what, why in document.missing(found["gaps"]):
        assert all(markdown.escaped(part) in pages[0] for part in (what, why))
        assert all(html.escape(what) in one and html.escape(why, quote=False) in one for one in pages[1:3]), what
        assert f"{what}: {why}" in re.sub(r"\n +", " ", pages[3])
