"""The page of what works in which isolation has the rows of the suite, and each test of them runs in both."""

from __future__ import annotations

import ast

from tests.support import parity
from tests.support.source import nodes


def test_the_page_has_the_rows_of_the_suite() -> None:
    rows = parity.declared()
    assert (parity.ROOT / "docs/parity.md").read_text() == parity.page(rows), "make parity writes it anew"
    assert len({row.name for row in rows}) == len(rows) > 20


def test_every_test_of_a_row_runs_in_both_isolations() -> None:
    for path in parity.suites():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef) and any("mark.parity" in ast.unparse(d) for d in node.decorator_list):
                assert "wall" in [argument.arg for argument in node.args.args], f"{path.name}: {node.name}"


def test_a_refusal_says_why() -> None:
    shown = parity.page([parity.Row("a"), parity.Row("b", vm="its kernel is its own")])
    assert "| a | yes | yes |\n| b | yes | refused: its kernel is its own |\n" in shown
