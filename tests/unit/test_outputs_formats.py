"""CSV, Markdown, JUnit and text of one document: all that is in it is there, and hostile names stay names."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import documents
from twinhull.compare.outputs import changes, conditions, document, junit, markdown, samples_csv, text
from twinhull.compare.outputs.printable import printable

# Element -> attributes: required ones, then those that may be there (the schema of Jenkins' xUnit plugin, junit-10).
JUNIT = {
    "testsuites": ((), ("name", "time", "tests", "failures", "errors")),
    "testsuite": (("name", "tests", "failures", "errors"), ("time", "skipped", "timestamp", "hostname", "id")),
    "testcase": (("name",), ("classname", "time")),
    "failure": ((), ("type", "message")),
    "error": ((), ("type", "message")),
    "skipped": ((), ("type", "message")),
    "system-out": ((), ()),
}
EXPRESSIONS = ("vm.startup > 1us", "vm.startup > 1000s", "podman.startup > 1s")


def asked() -> dict[str, Any]:
    """A document with gaps, of which something was asked."""
    found = documents.complete(seed=2, factor=1.5)
    found["gaps"] = {"load": "only with --full", "podman": "podman is not installed"}
    found["failures"] = {"vm_cold": ["the guest did not come up"]}
    found["conditions"] = conditions.judge_all(map(conditions.parse, EXPRESSIONS), found)
    found["changes"] = changes.changes(documents.complete(seed=1), found, "old.json")
    return found


def test_every_sample_is_a_row_of_the_csv() -> None:
    found = documents.real()
    rows = list(csv.DictReader(io.StringIO(samples_csv.render(found))))
    again: dict[str, list[float]] = {}
    for row in rows:
        again.setdefault(f"{row['subject']}.{row['quantity']}", []).append(float(row["value"]))
        assert int(row["index"]) == len(again[f"{row['subject']}.{row['quantity']}"]) - 1
    assert again == found["samples"]


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_name_becomes_a_formula_or_another_cell(subject: str, quantity: str) -> None:
    rows = list(csv.reader(io.StringIO(samples_csv.render({"samples": {f"{subject}.{quantity}": [1.5]}}))))
    assert len(rows) == 2
    assert len(rows[1]) == len(samples_csv.COLUMNS)
    assert not any(cell.startswith(samples_csv.FORMULA) for cell in rows[1])


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK(A1)"])
def test_what_a_spreadsheet_evaluates_is_quoted(name: str) -> None:
    assert samples_csv.inert(name).startswith("'")


def test_the_markdown_table_has_every_line_and_each_has_the_same_cells() -> None:
    found = asked()
    page = markdown.render(found)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == len(document.table(found)) + 2
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    for part in (
        "Would change it",
        "## Not measured",
        "- load: only with --full",
        "## Method",
        "twinhull compare --full",
    ):
        assert part in page


def test_the_machine_has_a_column_where_it_was_measured() -> None:
    found = documents.real()
    for row in found["rows"]:
        row["machine"] = row["vm"]
        for line in row["lines"]:
            line |= {"machine": "a whole system", "machine_comparison": "3x"}
        row["notes"] = ["what stands below"]
    page = markdown.render(found)
    assert "| Virtual machine | Container | Machine |" in page
    assert "| a whole system (3x) |" in page
    assert "Startup: what stands below" in page
    assert "\n            what stands below\n" in text.render(found)


@given(st.text(max_size=60) | st.text(alphabet="|`*_[]()<>#!\\&@-=+~$1. \nhtps:/w", max_size=30))
def test_no_text_is_taken_for_markdown(content: str) -> None:
    shown = markdown.escaped(content)
    assert "\n" not in shown
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "x", shown).replace("<!-- -->", "")
    assert not re.search(r"[`*_{}\[\]<>|~&$\\]|^\s*([-+#=]|\d+[.)])", bare)
    assert not re.search(r"(@|://)(?!<!-- -->)\S", shown)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_no_command_ends_its_code_block(words: list[str]) -> None:
    first, *inner, last = markdown.code(words).splitlines()
    assert len(inner) == 1
    assert first == f"{last}sh"
    assert last not in inner[0]


def test_the_junit_report_has_a_case_for_every_claim_condition_and_gap() -> None:
    found = asked()
    cases = ElementTree.fromstring(junit.render(found)).findall("testsuite/testcase")
    kinds = {(case.get("classname"), case.get("name")): [child.tag for child in case] for case in cases}
    assert [kinds["fail-if", expression] for expression in EXPRESSIONS] == [["failure"], ["system-out"], ["error"]]
    assert kinds["gaps", "podman"] == ["skipped"]
    claims = [line.claim for line in document.table(found) if line.claim]
    assert [name for group, name in kinds if group and group.startswith("claims.")] == claims
    suite = ElementTree.fromstring(junit.render(found)).find("testsuite")
    assert suite is not None
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == [str(len(cases)), "1", "1", "2"]


def test_a_claim_passes_whichever_way_it_came_out_and_is_skipped_if_not_measured() -> None:
    found = documents.real()
    found["rows"][1]["lines"][0]["holds"] = "not measured"
    tree = ElementTree.fromstring(junit.render(found))
    assert tree.find(".//failure") is None
    assert [case.get("name") for case in tree.findall(".//testcase") if case.find("skipped") is not None] == ["slower"]
    assert any("not here. vm: promised by nobody (TCG)" in (out.text or "") for out in tree.iter("system-out"))


def test_the_junit_report_has_the_form_of_the_common_schema() -> None:
    for found in (documents.real(), asked(), documents.poisoned(asked())):
        for element in ElementTree.fromstring(junit.render(found)).iter():
            required, optional = JUNIT[element.tag]
            assert set(required) <= set(element.keys()) <= {*required, *optional}


@pytest.mark.parametrize("make", [markdown.render, junit.render, samples_csv.render, text.render])
def test_hostile_text_stays_text(make: Any) -> None:
    made = make(documents.poisoned(asked()))
    assert all(letter.isprintable() or letter == "\n" for letter in made)


def test_hostile_text_is_markup_neither_in_markdown_nor_in_xml() -> None:
    outside, _, _ = markdown.render(documents.poisoned(asked())).partition("```sh")
    assert not re.search(r"(?<!\\)<(?!!-- -->)", outside)
    assert "<img" not in junit.render(documents.poisoned(asked()))


def test_the_text_of_a_saved_document_is_the_table_at_most_100_columns_wide() -> None:
    for found in (documents.real(), asked(), documents.poisoned(asked())):
        made = text.render(found)
        assert max(map(len, made.splitlines())) <= 100
    for word in ("VIRTUAL MACHINE", "> CONTAINER: ", "TCG: slow, and no security boundary", "[95 % interval"):
        assert word in " ".join(text.render(documents.real()).split())
    assert "vm.first_output_s: 17" in text.render(asked())


@given(st.text())
def test_what_cannot_be_seen_is_shown_as_its_escape(content: str) -> None:
    assert printable(content).isprintable()
    if content.isprintable():
        assert printable(content) == content


def test_the_order_of_letters_cannot_be_turned_round() -> None:
    assert printable("nginx\u202e:tset\x1b[2J") == "nginx\\u202e:tset\\u001b[2J"


def test_every_output_can_be_made_of_a_document_without_any_section() -> None:
    found = documents.real() | {"rows": [], "samples": {}, "gaps": {"vm": "no QEMU", "container": "no root"}}
    for make in (markdown.render, junit.render, samples_csv.render, text.render):
        assert make(found)
    assert json.dumps(found)
