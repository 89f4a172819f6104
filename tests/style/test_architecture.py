"""Imports point downwards only. The table below is the architecture; docs/design.md draws it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source import nodes

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/twinhull"
LAYERS = (
    ("jsontext", "quantities", "scopes", "tuples"),
    ("errors",),
    ("model", "config", "log"),
    ("plan",),
    ("oci",),
    ("advice",),
    ("host",),
    ("store",),
    ("network",),
    ("runtime",),
    ("machine", "build"),
    ("engine",),
    ("compare",),
    ("prove",),
    ("api", "cli"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
PURE = {"advice", "oci", "plan"}
EFFECTS = {
    *("ctypes", "fcntl", "io", "os", "pathlib", "posix", "random", "shutil", "signal"),
    *("socket", "sqlite3", "subprocess", "tempfile", "threading", "time"),
}
STARTS_PROCESSES = re.compile(r"\b(import subprocess|posix_spawn|os\.(fork|exec[lv]|spawn|popen|system)\w*)\b")
MODULES = sorted(SOURCE.rglob("*.py"))
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    return tuple(imported(path))


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@each_module
def test_imports_point_downwards(path: Path) -> None:
    unit = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if unit.startswith("__"):
        return
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "twinhull":
            target = rest.split(".")[0]
            assert target == "__version__" or target == unit or RANK[target] < RANK[unit], (
                f"{unit} may not import {target}"
            )
        elif unit in PURE:
            assert top not in EFFECTS, f"{unit} is pure and may not import {top}"


@each_module
def test_only_host_spawn_starts_processes(path: Path) -> None:
    if path == SOURCE / "host/spawn.py":
        return
    code = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    annotations_only = code.replace("if TYPE_CHECKING:\n    import subprocess", "")
    assert not STARTS_PROCESSES.search(annotations_only), f"{path.name} starts a process; host/spawn.py does that"


@each_module
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if path.relative_to(SOURCE).parts[0] in ("cli", "__main__.py"):
        return
    for node in nodes(path):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "sys.exit", "exit"), f"{path.name}:{node.lineno} calls {called}"


def test_the_design_document_draws_these_layers() -> None:
    drawing = (ROOT / "docs/design.md").read_text().partition("<!-- layers -->\n```\n")[2].partition("```")[0]
    drawn = [tuple(line.partition("  ")[0].split()) for line in drawing.splitlines()]
    assert drawn == list(reversed(LAYERS))
