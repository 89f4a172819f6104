"""What other projects' tests print, as results."""

from __future__ import annotations

from scripts.conformance.__main__ import differences
from scripts.conformance.podman import reason_of
from scripts.conformance.runc import names_of
from scripts.conformance.source import newest
from scripts.conformance.suite import Result
from scripts.conformance.tap import tap_results


def test_each_line_of_the_protocol_is_a_result_with_what_was_printed_before_it() -> None:
    output = "1..4\nok 1 - one\nwhy\nmore\nnot ok 2 - two\nok 3 - three #SKIP\nok 4 # SKIP no kernel for it\n"
    assert list(tap_results("file", output)) == [
        Result("file: one", "passed"),
        Result("file: two", "failed", "why\nmore"),
        Result("file: three", "skipped"),
        Result("file: ", "skipped"),
    ]


def test_only_what_some_runtime_did_not_pass_is_told_of() -> None:
    results = {
        "runc": [Result("one", "passed"), Result("two", "passed")],
        "ours": [Result("one", "passed"), Result("two", "failed", "first\nlast\n")],
    }
    assert list(differences(results)) == ["two: runc passed, ours failed", "    ours: last"]


def test_the_names_of_tests_are_as_bats_knows_them() -> None:
    text = 'function setup() {\n}\n@test "one [two] (three)" {\n}\n@test "the \\"other\\"" {\n'
    assert names_of(text) == ["one [two] (three)", 'the "other"']


def test_a_source_that_is_kept_for_its_licence_is_not_taken() -> None:
    kept = "Package: runc\nVersion: 1.3.3-2\nExtra-Source-Only: yes\n"
    assert newest(f"{kept}\nPackage: runc\nVersion: 1.3.6-1\nFiles:\n abc 1 f\n") == "1.3.6-1"


def test_of_podmans_output_what_failed_is_the_reason_not_what_cleans_up() -> None:
    shown = "not ok 1 a\r\n# # podman run\n# #|     FAIL: a\n# #| expected: 'b'\n# # [teardown]\n# #| FAIL: later\n"
    assert reason_of(shown) == "# #|     FAIL: a\n# #| expected: 'b'"
    assert reason_of("1..1\nok 1 b # skip no systemd\n") == "ok 1 b # skip no systemd"
