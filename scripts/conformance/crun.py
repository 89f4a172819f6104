"""crun's tests: Python programs that make a bundle around one static program and print TAP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.conformance.suite import Place, Result, Suite, run_test
from scripts.conformance.tap import tap_results

# What crun's configure script would find.
_CONFIG = "#define HAVE_LINUX_IOPRIO_H 1\n#define HAVE_SECCOMP 1\n#define HAVE_ERROR_H 1\n"


def build(source: Path) -> None:
    """Compile the program that the containers of the tests run."""
    init = source / "tests/init"
    if not init.exists():
        (source / "config.h").write_text(_CONFIG)
        compiler = ["gcc", "-static", f"-I{source}", "-o", str(init), f"{init}.c"]
        subprocess.run(compiler, check=True)


def run(place: Place) -> Iterator[Result]:
    """Run each of the test programs; runc is not asked, for they pass options that it does not take."""
    if place.runtime.name == "runc":
        return
    for file in filter(place.wants, sorted(path.name for path in (place.source / "tests").glob("test_*.py"))):
        if file == "test_delete.py" and os.path.exists("/sys/fs/cgroup/freezer"):
            # It moves a process into a frozen group of its own, and leaves both there.
            yield Result(f"{file}: whole", "skipped", "leaves frozen processes behind, with every runtime")
            continue
        program = [sys.executable, "-u", f"tests/{file}"]
        status, output = run_test(place, program, timeout=60, OCI_RUNTIME=str(place.runtime))
        yield from tap_results(file, output)
        remove_left(place)
        if status != 0:
            yield Result(f"{file}: whole", "failed", output)


def remove_left(place: Place) -> None:
    """Remove the containers of a test program that was stopped, with its directory."""
    for folder in place.source.glob(".testsuite-run-*"):
        state = folder / "root"
        for container in state.iterdir() if state.exists() else ():
            command = [str(place.runtime), "--root", str(state), "delete", "--force", container.name]
            subprocess.run(command, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


SUITE = Suite("crun", "crun", "trixie", build, run)
