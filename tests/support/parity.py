"""What works in which isolation, told by the tests that tried it: `make parity` writes docs/parity.md.

A test marked `parity("row")` is parametrised over the isolation by the fixture `wall`, and is a part of the page's row
of that name. With `refused="reason"` it asserts that a virtual machine refuses, which physics demands; with
`unlike="reason"` that a container does.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE_VARIABLE = "TWINHULL_PARITY_PAGE"
ROOT = Path(__file__).parents[2]
ISOLATIONS = ("container", "vm")
REASONS = {"refused": "vm", "unlike": "container"}
PROPERTY = "parity"
MARK = "pytest.mark.parity"
HEAD = """# What a container can do, a virtual machine can do
`make parity` writes this page: each row is what tests with its mark (`parity`, in `tests/kernel`) found, run in
both isolations. What is refused is refused by physics, with the reason beside it.

| What | Container | Virtual machine |
| --- | --- | --- |
"""


class Row(NamedTuple):
    """One row of the page: its name, and the reason for which an isolation refuses, "" where it does not."""

    name: str
    container: str = ""
    vm: str = ""


def suites() -> list[Path]:
    """The files whose tests are rows."""
    return [path for path in sorted((ROOT / "tests/kernel").glob("test_*.py")) if MARK in path.read_text()]


def declared() -> list[Row]:
    """The rows of the suite, in the order of its files, as the marks say them."""
    rows: dict[str, Row] = {}
    for path in suites():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == MARK:
                name = ast.literal_eval(node.args[0])
                reasons = {REASONS[str(word.arg)]: ast.literal_eval(word.value) for word in node.keywords}
                rows[name] = rows.get(name, Row(name))._replace(**reasons)
    return list(rows.values())


def page(rows: list[Row]) -> str:
    """The page of these rows."""
    return HEAD + "".join(f"| {row.name} | {cell(row.container)} | {cell(row.vm)} |\n" for row in rows)


def cell(reason: str) -> str:
    """How one isolation does."""
    return f"refused: {reason}" if reason else "yes"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note the row and the isolation with the test's report, which may come from another process."""
    mark = item.get_closest_marker("parity")
    if mark and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        item.user_properties.append((PROPERTY, f"{item.callspec.params['wall']} {mark.args[0]}"))


class Results:
    """The worst outcome of each row in each isolation."""

    def __init__(self) -> None:
        self.passed: dict[str, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one report; what was skipped has shown nothing."""
        for key, value in report.user_properties:
            if key == PROPERTY and (report.when == "call" or not report.passed):
                self.passed[str(value)] = self.passed.get(str(value), True) and report.passed

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the page if every row has passed in both isolations; no page says what nobody has seen."""
        del session, exitstatus
        rows = declared()
        missing = [
            f"{isolation} {row.name}"
            for row in rows
            for isolation in ISOLATIONS
            if not self.passed.get(f"{isolation} {row.name}")
        ]
        assert not missing, f"the page stays as it was, for these have not passed: {missing}"
        (ROOT / os.environ[PAGE_VARIABLE]).write_text(page(rows))


def pytest_configure(config: pytest.Config) -> None:
    """Collect where a page is asked for; of several processes the first does."""
    if os.environ.get(PAGE_VARIABLE) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results())
