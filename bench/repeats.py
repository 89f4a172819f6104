"""Do two runs of compare agree? Run it again and again, and count how often their 95 % intervals overlap.

    python -m bench.repeats [RUNS] [flags of compare]

The status is 1 when a figure's intervals overlap in fewer than 9 of 10 pairs of runs.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

from bench.contenders import ENTRY

RUNS = 5  # ten pairs
WANTED = 0.9
FLAGS = ("--subjects", "container,vm")
FIGURES = ("first_output_s", "total_s", "ready_s", "exec_s", "memory_bytes")


def main(arguments: list[str]) -> int:
    """Run and judge."""
    runs = int(arguments[0]) if arguments else RUNS
    flags = arguments[1:] or list(FLAGS)
    documents = [compare(flags, number + 1, runs) for number in range(runs)]
    verdicts = [judge(key, documents) for key in documents[0]["statistics"] if key.partition(".")[2] in FIGURES]
    return 0 if all(verdicts) else 1


def compare(flags: list[str], number: int, runs: int) -> dict[str, Any]:
    """One run's document."""
    print(f"run {number} of {runs}", file=sys.stderr)
    words = [str(ENTRY), "compare", "--format", "json", *flags]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def judge(key: str, documents: list[dict[str, Any]]) -> bool:
    """Print how often a figure's intervals overlap, and return whether that is often enough."""
    found = [document["statistics"][key] for document in documents if key in document["statistics"]]
    pairs = list(itertools.combinations(found, 2))
    overlapping = sum(one["low"] <= other["high"] and other["low"] <= one["high"] for one, other in pairs)
    medians = ", ".join(f"{summary['median']:.4g}" for summary in found)
    print(f"{key:28} {overlapping} of {len(pairs)} pairs overlap; medians {medians}")
    return bool(pairs) and overlapping >= WANTED * len(pairs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
