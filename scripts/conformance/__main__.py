"""Run other projects' tests of OCI runtimes against runtimes of this machine, as root, and print a table.

    python -m scripts.conformance [--suite NAME] [--only WORD] [--cache DIRECTORY] [RUNTIME …]

Without a runtime named: runc, crun and twinhull-oci of this tree; runc's own tests take the runc of their release. The
suites' source is kept below --cache (build/conformance).
"""

from __future__ import annotations

import argparse
import collections
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.conformance import crun, podman, runc, runtime_tools
from scripts.conformance.source import fetch
from scripts.conformance.suite import Outcome, Place, Result, Suite

ROOT = Path(__file__).resolve().parents[2]
SUITES: tuple[Suite, ...] = (runtime_tools.SUITE, crun.SUITE, runc.SUITE, podman.SUITE, podman.USER_SUITE)


def main() -> None:
    """Run what the command line asks for."""
    words = parser().parse_args()
    words.cache.mkdir(parents=True, exist_ok=True)
    runtimes = words.runtime or [*filter(None, map(shutil.which, ("runc", "crun"))), ROOT / ".venv/bin/twinhull-oci"]
    for suite in SUITES:
        if words.suite in ("", suite.name):
            compare(suite, words.cache.absolute(), [Path(one).absolute() for one in runtimes], words.only)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m scripts.conformance")
    made.add_argument("--suite", default="", choices=[suite.name for suite in SUITES])
    made.add_argument("--only", default="", metavar="WORD", help="tests whose name contains it")
    made.add_argument("--cache", type=Path, default=ROOT / "build/conformance")
    made.add_argument("runtime", nargs="*")
    return made


def compare(suite: Suite, cache: Path, runtimes: list[Path], only: str) -> None:
    """Run a suite against each runtime; a line for each, then one for each test that did not pass everywhere."""
    version, source = fetch(cache, suite.package, suite.release)
    suite.build(source)
    results = {runtime.name: list(run(suite, source, runtime, only)) for runtime in runtimes}
    print("| Suite | Runtime | Passed | Failed | Skipped |\n| --- | --- | --- | --- | --- |")
    for name, rows in results.items():
        count = collections.Counter(row.outcome for row in rows)
        print(f"| {suite.name} {version} | {name} | {count['passed']} | {count['failed']} | {count['skipped']} |")
    for line in differences(results):
        print(line)


def run(suite: Suite, source: Path, runtime: Path, only: str) -> Iterator[Result]:
    """A suite's results with one runtime; the directory and the containers that it leaves are removed."""
    scratch = Path(tempfile.mkdtemp(prefix="conformance-"))
    scratch.chmod(0o755)  # tests change to users who have to come in
    try:
        yield from suite.run(Place(source, scratch, runtime, only))
    finally:
        for container in left(runtime, scratch):
            subprocess.run([runtime, "delete", "--force", container], check=False)
        shutil.rmtree(scratch, ignore_errors=True)


def left(runtime: Path, scratch: Path) -> list[str]:
    """The containers of a runtime whose bundles are in this directory."""
    listed = subprocess.run([runtime, "list", "--format", "json"], capture_output=True, text=True, check=True)
    return [row["id"] for row in json.loads(listed.stdout) or () if Path(row["bundle"]).is_relative_to(scratch)]


def differences(results: dict[str, list[Result]]) -> Iterator[str]:
    """The tests that some runtime did not pass: each runtime's outcome, and the last line of the reason."""
    outcomes: dict[str, dict[str, Result]] = collections.defaultdict(dict)
    for name, rows in results.items():
        for row in rows:
            outcomes[row.test][name] = row
    everywhere: set[Outcome] = {"passed"}
    for test, found in sorted(outcomes.items()):
        if {row.outcome for row in found.values()} != everywhere:
            yield f"{test}: " + ", ".join(f"{name} {row.outcome}" for name, row in found.items())
            for name, row in found.items():
                if row.text and row.outcome != "passed":
                    yield f"    {name}: {row.text.strip().splitlines()[-1][:200]}"


if __name__ == "__main__":
    main()
