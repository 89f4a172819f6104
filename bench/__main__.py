"""Measure every promise of SPEC.md and say which hold; the status is 1 when one is broken.

python -m bench [--long] [ROUNDS]
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.contenders import Works, others
from bench.measure import Contender, Samples, take_turns
from bench.ours import (
    crowd,
    pool_member_mb,
    processes_of_ours,
    settle,
    stop_everything,
    supervisor_mb,
    twinhull_works,
)
from bench.promises import SPEC, Promise, read_promises
from tests.support import leaks
from tests.support.command import share_kernels

ROUNDS = 15
OPTIONAL = ("vm-kernel", "vm-built")  # need what takes ten minutes to make: unmeasured is not broken
# Rounds of what takes minutes: only with --long.
LONG = {"many": 3, "growth": 1, "vm-growth": 1, "vm-memory": 1, "pool-memory": 1}
CROWDS: dict[str, tuple[int, tuple[str, ...]]] = {"growth": (500, ()), "vm-growth": (100, ("--vm",))}


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    if os.geteuid() != 0:
        print("bench: workloads need root", file=sys.stderr)
        return 1
    leaks.adopt_orphans()
    promises = read_promises(SPEC.read_text())
    numbers = [word for word in arguments if word != "--long"]
    rounds, absent = int(numbers[0]) if numbers else ROUNDS, () if "--long" in arguments else tuple(LONG)
    promises = {name: row for name, row in promises.items() if name not in absent}
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, {rounds} rounds, medians ± half IQR")
    with tempfile.TemporaryDirectory(prefix="twinhull-bench-") as name:
        folder = Path(name)
        try:
            verdicts = measure_times(folder, promises, rounds)
            verdicts += measure_processes(folder, promises)
            verdicts += measure_crowds(folder, promises)
        finally:
            for place in folder.glob("twinhull*/state"):
                stop_everything(place.parent)
    return 0 if all(verdicts) else 1


def measure_times(folder: Path, promises: dict[str, Promise], rounds: int) -> list[bool]:
    """Time every work of ours against all who can do it; return whether each promise holds."""
    root = folder / "twinhull"
    root.mkdir()
    share_kernels(root)
    verdicts = []
    with others(folder) as (their_works, absent), twinhull_works(root) as (our_works, missing):
        for line in [*absent, *missing]:
            print(f"not measured: {line}")
        required = [row.name for row in promises.values() if row.unit == "×" and row.name not in (*OPTIONAL, *CROWDS)]
        verdicts += [False for name in required if name not in our_works]
        for work in our_works:
            if work in LONG and work not in promises:
                continue
            turns = LONG.get(work, rounds)
            samples = take_turns(merged(work, our_works, their_works), turns, partial(settle, root))
            print(f"\n{work}")
            for name, values in sorted(samples.items(), key=lambda pair: pair[1].median_ms):
                print(f"  {name:10} {values.median_ms:9.1f} ms ± {values.spread_ms:.1f}")
            if work in promises:
                verdicts.append(holds(promises[work], samples))
    return verdicts


def measure_crowds(folder: Path, promises: dict[str, Promise]) -> list[bool]:
    """Start many of each isolation, one after the other; where that is not left out."""
    verdicts = []
    for name, (size, flags) in CROWDS.items():
        if name in promises:
            print(f"\n{name}")
            found = crowd(folder / "twinhull", size, *flags)
            verdicts.append(holds(promises[name], found.starts))
            if name == "vm-growth":
                verdicts.append(verdict(promises["vm-memory"], found.weight_mb))
                verdicts.append(verdict(promises["pool-memory"], pool_member_mb(folder / "twinhull")))
    return verdicts


def merged(work: str, *all_works: Works) -> dict[str, Contender]:
    """Return the contenders of one work."""
    return {name: command for works in all_works for name, command in works.get(work, {}).items()}


def holds(promise: Promise, samples: dict[str, Samples]) -> bool:
    """Print the ratio of a promise and return whether it is within its limit; unmeasured is not broken."""
    theirs = samples.get(promise.against)
    if theirs is None:
        print(f"  {promise.against} is not here: nothing to compare with")
        return True
    ratio = samples["twinhull"].median_ms / theirs.median_ms
    return verdict(promise, ratio)


def verdict(promise: Promise, value: float) -> bool:
    """Print how an amount compares with its limit."""
    good = value <= promise.limit
    word = "holds" if good else "BROKEN"
    print(f"  {word}: {promise.name} {value:.3g} {promise.unit} (limit {promise.limit:g} {promise.unit})")
    return good


def measure_processes(folder: Path, promises: dict[str, Promise]) -> list[bool]:
    """Weigh idle containers, then count what is left when they are gone."""
    print("\nmemory and processes")
    weight = verdict(promises["supervisor"], supervisor_mb(folder / "twinhull"))
    return [weight, verdict(promises["resident"], len(processes_of_ours(folder / "twinhull")))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
