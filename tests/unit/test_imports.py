"""The file with the code of all modules: it is used, and what is executed is the source as it is now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from twinhull import imports

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from twinhull import imports
imports.begin()
import twinhull.below.one as one
print(type(one.__spec__.loader).__name__, one.VALUE, one.__file__, one.__package__, one.__cached__, one.function())
imports.keep()
"""
ONE = "VALUE = 1\n\n\ndef function():\n    return 7\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package of that name with one module below, which has not been imported yet."""
    below = tmp_path / "tree/twinhull/below"
    below.mkdir(parents=True)
    shutil.copy(imports.__file__, below.parent)
    (below.parent / "__init__.py").touch()
    (below / "__init__.py").touch()
    (below / "one.py").write_text(ONE)
    return tmp_path / "tree"


def start(tree: Path, *flags: str) -> list[str]:
    """Import the module in a process of its own; what it says of it, and whether it came from the file."""
    argv = [sys.executable, "-IS", *flags, "-c", SCRIPT, str(tree)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def kept(tree: Path) -> Path:
    """The file."""
    return next((tree / "twinhull/__pycache__").glob("modules.*"))


def test_the_second_start_takes_a_module_from_the_file_and_sees_no_difference(tree: Path) -> None:
    first, second = start(tree), start(tree)
    assert (first[0], second[0]) == ("SourceFileLoader", "Loader")
    assert first[1:] == second[1:]
    before = kept(tree).stat()
    start(tree)
    assert kept(tree).stat() == before, "nothing was new, and it was written again"


def test_a_source_that_changed_is_what_is_executed(tree: Path) -> None:
    start(tree)
    one = tree / "twinhull/below/one.py"
    one.write_text(ONE.replace("1", "2"))  # of the same length
    os.utime(one, ns=(0, one.stat().st_mtime_ns + 2_000_000_000))  # a .pyc knows whole seconds only
    assert start(tree)[:2] == ["SourceFileLoader", "2"]
    assert start(tree)[:2] == ["Loader", "2"]


def test_a_source_that_is_gone_is_no_module_any_more(tree: Path) -> None:
    start(tree)
    (tree / "twinhull/below/one.py").unlink()
    with pytest.raises(AssertionError, match=r"No module named 'twinhull.below.one'"):
        start(tree)


def test_a_copy_of_the_tree_executes_its_own(tree: Path, tmp_path: Path) -> None:
    start(tree)
    copy = shutil.copytree(tree, tmp_path / "copy")
    said = start(copy)
    assert said[0] == "SourceFileLoader"
    assert said[2] == f"{copy}/twinhull/below/one.py"


def test_another_level_of_optimisation_does_not_take_it(tree: Path) -> None:
    start(tree)
    assert start(tree, "-O")[0] == "SourceFileLoader"


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("filled", [b"", b"\0", b"\xff"], ids=["cut", "zeros", "ones"])
def test_a_damaged_file_is_as_none(tree: Path, share: float, filled: bytes) -> None:
    start(tree)
    content = kept(tree).read_bytes()
    good = content[: int(share * len(content))]
    kept(tree).write_bytes(good + filled * (len(content) - len(good)))
    assert start(tree)[1] == "1"


def test_a_traceback_shows_the_source(tree: Path) -> None:
    start(tree)
    one = tree / "twinhull/below/one.py"
    one.write_text(ONE.replace("7", "1 / 0"))
    script = SCRIPT.replace("one.function()", "").replace("print(", "print(0, ")
    argv = [sys.executable, "-IS", "-c", script, str(tree)]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    done = subprocess.run(
        [*argv[:3], script + "one.function()", str(tree)], capture_output=True, text=True, check=False
    )
    assert f'File "{one}", line 5, in function\n    return 1 / 0' in done.stderr
    assert "Loader 1" in done.stdout
