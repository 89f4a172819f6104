"""Imports point downwards only. The table below is the architecture; docs/design.md draws it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.source import nodes

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/twinhull"
LAYERS = (
    ("imports", "jsontext", "quantities", "scopes", "tuples"),
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


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_imports(path: Path) -> Iterator[str]:
    unit = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if unit.startswith("__"):
        return
    for name in imported(path):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "twinhull" and target not in ("__version__", unit) and RANK[target] >= RANK[unit]:
            yield f"{path}: {unit} may not import {target}"
        if unit in PURE and top in EFFECTS:
            yield f"{path}: {unit} is pure and may not import {top}"


def test_imports_point_downwards() -> None:
    assert [found for path in MODULES for found in wrong_imports(path)] == []


def starts_processes(path: Path) -> bool:
    code = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    return bool(STARTS_PROCESSES.search(code.replace("if TYPE_CHECKING:\n    import subprocess", "")))


def test_only_host_spawn_starts_processes() -> None:
    assert [path for path in MODULES if starts_processes(path)] == [SOURCE / "host/spawn.py"]


def test_only_the_command_line_prints_or_exits() -> None:
    others = (path for path in MODULES if path.relative_to(SOURCE).parts[0] not in ("cli", "__main__.py"))
    calls = ((path, node) for path in others for node in nodes(path) if isinstance(node, ast.Call))
    named = ((path, node.lineno, ast.unparse(node.func)) for path, node in calls if not isinstance(node.func, ast.Call))
    assert [found for found in named if found[2] in ("print", "sys.exit", "exit")] == []


def test_the_design_document_draws_these_layers() -> None:
    drawing = (ROOT / "docs/design.md").read_text().partition("<!-- layers -->\n```\n")[2].partition("```")[0]
    drawn = [tuple(line.partition("  ")[0].split()) for line in drawing.splitlines()]
    assert drawn == list(reversed(LAYERS))
