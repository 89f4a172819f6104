"""Functions fit on a screen, modules in one sitting, and the launcher stays small."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.source import nodes

ROOT = Path(__file__).parents[2]
PYTHON = sorted(path for folder in ("src", "tests", "bench", "scripts") for path in (ROOT / folder).rglob("*.py"))
LAUNCHER = sorted(path for path in (ROOT / "launcher").glob("*.[ch]") if "Generated from" not in path.read_text()[:200])
C = LAUNCHER + sorted((ROOT / "probes").glob("*.[ch]"))
MODULE_LINES, FUNCTION_LINES = 400, 50
# The total grew by a hundred with the work that a guest does ahead of its template, again with guests in waiting, and
# by forty with the clock of its boot, by forty with what a rehearsal leaves behind. The OCI runtime took 590: a
# container without a shim, hooks, namespaces by path, idmapped and propagating mounts; and 630 more for its short verbs
# without an interpreter, for `run` after its start and a launcher that is there before its plan,
# 150 to copy a tree, and 110 for a first process of ours.
# What looks into a workload without running anything of it (tool*.c) took 880, restart policies 190, a guest that is
# held and copied 200, health checks 270, a pool of guests in waiting 40, the container of another runtime 185, and what
# keeps the namespaces of a user without root, and closes his ports, 130. A guard of machines that stand still took 75,
# a network namespace made from one that only its root may enter 45, one that stands for a guest short of memory 27,
# a bundle of a user without root 100, a guest's limits and the files that it shows over a volume 36.
C_FILE_LINES, C_FUNCTION_LINES, C_TOTAL_LINES = 600, 60, 16_260
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def long_python(path: Path) -> Iterator[str]:
    lines = path.read_text().count("\n")
    if lines > MODULE_LINES:
        yield f"{name(path)} has {lines} lines"
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{name(path)}: {node.name} has {lines} lines"


def test_python_modules_and_functions_are_short() -> None:
    assert [found for path in PYTHON for found in long_python(path)] == []


def long_c(path: Path) -> Iterator[str]:
    lines = path.read_text().splitlines()
    if len(lines) > C_FILE_LINES:
        yield f"{name(path)} has {len(lines)} lines"
    for start, line in enumerate(lines):
        if line == "{":  # the formatter puts a function's brace, and no other, at the first column
            length = lines[start:].index("}") + 1
            if length > C_FUNCTION_LINES:
                yield f"{name(path)}:{start} has {length} lines"


def test_c_files_and_functions_are_short() -> None:
    assert [found for path in C for found in long_c(path)] == []


def test_the_whole_launcher_is_small() -> None:
    shipped = [path for path in LAUNCHER if not re.search(r"_test\.c$|/fault\.c$|/fuzz_\w+\.c$", str(path))]
    assert sum(len(path.read_text().splitlines()) for path in shipped) <= C_TOTAL_LINES


def test_modules_are_named_for_a_thing() -> None:
    assert [name(path) for path in PYTHON if path.stem in VAGUE] == []
