"""Hostile bytes into the launcher's parsers, each built with AddressSanitizer and UBSan around libFuzzer.

Twenty seconds a target, a minute in all; `make fuzz FUZZ_SECONDS=N` takes as long as it is told. What breaks one stays
in build/fuzz, and so does the corpus.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("FUZZ_SECONDS", "20"))
BUILD_S = 300
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in (ROOT / "launcher").glob("fuzz_*.c"))
FEWEST_RUNS = 1000


@pytest.mark.slow
@pytest.mark.timeout(BUILD_S + 2 * SECONDS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_parser_survives_what_the_fuzzer_makes_up(target: str) -> None:
    options = (f"FUZZERS=build/fuzz/{target}", f"FUZZ_SECONDS={SECONDS}")
    done = subprocess.run(
        ["make", "--silent", "fuzz-launcher", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    runs = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("Done ")]
    assert len(runs) == 1 and int(runs[0]) >= FEWEST_RUNS, done.stderr[-2000:]


def test_there_is_a_target_for_the_plan_and_for_the_frames() -> None:
    assert {"frames", "plan"} <= set(TARGETS)
