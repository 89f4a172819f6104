"""The OCI's runtime-tools: Go programs, each of which makes bundles for one chapter of the specification."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.conformance.suite import Outcome, Place, Result, Suite, run_test

# Where Debian's packages of Go libraries are.
_LIBRARIES = "/usr/share/gocode"
_PROJECT = "src/github.com/opencontainers/runtime-tools"
# A result that counts: one that need not be good yet is marked.
_BAD = re.compile(r"not ok (?!.*# T[O]DO).*", re.MULTILINE)


def build(source: Path) -> None:
    """Compile the tests, and the program that looks at a container from inside."""
    if (source / "runtimetest").exists():
        return
    own = source / ".go"
    project, tap = own / _PROJECT, own / "src/github.com/mndrix/tap-go"
    project.parent.mkdir(parents=True, exist_ok=True)
    if not project.is_symlink():
        project.symlink_to(source)
    tap.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("tap.go"), tap)  # the one library that is not in Debian
    variables = {"GO111MODULE": "off", "GOPATH": f"{own}:{_LIBRARIES}", "GOCACHE": f"{own}/cache", "PWD": str(project)}
    for target, packages in ((f"{source}/programs/", "./validation/..."), ("runtimetest", "./cmd/runtimetest")):
        command = ["go", "build", "-o", target, packages]
        subprocess.run(command, cwd=project, env={**os.environ, "CGO_ENABLED": "0", **variables}, check=True)


def run(place: Place) -> Iterator[Result]:
    """Run each of the programs: one result for each, for what they print depends on how far they come."""
    for program in filter(lambda path: place.wants(path.name), sorted((place.source / "programs").iterdir())):
        status, output = run_test(place, [str(program)], timeout=60, RUNTIME=str(place.runtime))
        bad = _BAD.findall(output)
        outcome: Outcome = "failed" if status or bad else "passed"
        yield Result(program.name, outcome, f"{output}\n{'; '.join(bad)}" if bad else output)


SUITE = Suite("runtime-tools", "golang-github-opencontainers-runtime-tools", "trixie", build, run)
