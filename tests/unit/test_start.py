"""The modules on the way of a start are light: nothing that is slow to import comes with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
# Each brings others of these, or costs more than a millisecond by itself.
SLOW = {
    *("argparse", "collections", "contextlib", "copyreg", "dataclasses", "datetime", "enum", "functools", "gettext"),
    *("hashlib", "importlib", "inspect", "json", "keyword", "logging", "operator", "pathlib", "random", "re"),
    *("reprlib", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "types", "typing"),
    "warnings",
}
ALWAYS = ("cli.main", "cli.run", "cli.arguments", "cli.foreground", "cli.progress", "engine.engine")
CONTAINER = ("network.alone", "network.etc", "network.leases", "store.snapshot")
BRIDGE = ("network.bridge", "network.dns", "network.endpoint", "network.ports")
MACHINE = ("runtime.vm", "runtime.template", "runtime.kernel", "store.disk", "runtime.scratch")
DECIDING = ("engine.isolation", "engine.abilities")
LATER = ("cli.exec", "cli.control", "cli.ps", "engine.control", "engine.execute", "engine.logs")
SCRIPT = """
import sys
sys.path.append({source!r})
for name in {modules!r}:
    __import__("twinhull." + name)
from twinhull.store import db
db.driver().connect(":memory:").close()
print(*sorted(set(sys.modules) & {slow!r}))
"""


@pytest.mark.parametrize(
    "modules", [CONTAINER, BRIDGE, MACHINE, DECIDING, LATER], ids=["container", "bridge", "vm", "auto", "later"]
)
def test_nothing_slow_is_imported(modules: tuple[str, ...]) -> None:
    script = SCRIPT.format(source=str(SOURCE), modules=(*ALWAYS, *modules), slow=SLOW)
    done = subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_only_a_start_that_asks_for_it_imports_what_decides_an_isolation() -> None:
    script = SCRIPT.format(source=str(SOURCE), modules=(*ALWAYS, *CONTAINER, *BRIDGE, *MACHINE, *LATER), slow=set())
    script += "print(*[name for name in sys.modules if name.startswith('twinhull.advice') or 'isolation' in name])"
    done = subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_functools_is_whole_after_the_database_was_opened() -> None:
    script = SCRIPT.format(source=str(SOURCE), modules=(), slow=set()) + "import functools; functools.partial(print)()"
    subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True)
