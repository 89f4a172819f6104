"""Documents of a comparison: a real one from a file, and one with every section, made up from a fixed seed."""

from __future__ import annotations

import copy
import functools
import json
import random
from pathlib import Path
from typing import Any

from twinhull.compare import statistics

# Made by: twinhull compare --quick --format json busybox -- echo hi
# Left out: the lists of system calls, the ids of boots, the build of the kernel; six digits of each sample are kept.
REAL = Path(__file__).parent / "compare-busybox.json"
HOSTILE = "</script><img src=x onerror=alert(1)>\"'`|*_[a](b)&amp;\u202e\x1b[2J\x00=1+1 @team ]]>"
MIDDLES = {
    "vm.first_output_s": 0.172, "vm_template.first_output_s": 0.121, "vm_cold.first_output_s": 1.91,
    "container.first_output_s": 0.033, "machine.first_output_s": 9.4, "docker.first_output_s": 0.31,
    "vm.total_s": 0.21, "container.total_s": 0.041, "vm.exec_s": 0.03, "container.exec_s": 0.02, "vm.stop_s": 0.2,
    "vm.memory_bytes": 20.4e6, "container.memory_bytes": 0.31e6, "machine.memory_bytes": 180e6,
    "vm.disk_bytes": 5e5, "container.disk_bytes": 8e3, "vm.idle_percent": 0.7, "container.idle_percent": 0.01,
    "vm.copies_s": 3.0, "container.copies_s": 0.3,
}  # fmt: skip
STACKS = {
    "vm": ["Infrastructure", "Host OS", "Hypervisor", "Guest OS", "App"],
    "container": ["Infrastructure", "Host OS", "Engine", "App"],
    "machine": ["Infrastructure", "Host OS", "Hypervisor", "Guest OS", "App"],
}
NAMES = {"Infrastructure": "2 x AMD EPYC", "Host OS": "Debian 12", "Hypervisor": "QEMU 7.2", "Guest OS": "Linux 6.1"}


def real() -> dict[str, Any]:
    """What one quick comparison on a real machine wrote."""
    document: dict[str, Any] = json.loads(REAL.read_text())
    return document


def complete(*, seed: int = 7, factor: float = 1.0) -> dict[str, Any]:
    """The real document with every section filled in. `factor` makes the starts of the VM slower."""
    return copy.deepcopy(made_up(seed, factor))


@functools.cache
def made_up(seed: int, factor: float) -> dict[str, Any]:
    chance = random.Random(seed)
    document = real()
    slow = {key: factor if key.startswith("vm.") and key.endswith("_s") else 1.0 for key in MIDDLES}
    samples = {key: [chance.gauss(m, m / 25) * slow[key] for _ in range(12)] for key, m in MIDDLES.items()}
    document["samples"] = samples
    return {
        **document,
        "effort": "full",
        "argv": ["twinhull", "compare", "--full", "busybox", "--", "echo", "hi"],
        "subjects": [
            {"name": name, "title": title, "kind": kind, "gap": ""}
            for name, title, kind in (
                ("container", "container", "container"),
                ("vm", "VM, from its template", "vm"),
                ("vm_template", "VM, from its template alone", "vm"),
                ("vm_cold", "VM, cold boot", "vm"),
                ("machine", "machine (full guest OS)", "machine"),
                ("docker", "docker run, with a network of its own, under a daemon", "reference"),
            )
        ],
        "statistics": {key: statistics.summarise(values)._asdict() for key, values in samples.items()},
        "comparisons": [comparison(samples, key) for key in ("first_output_s", "memory_bytes")],
        "phases": {
            "vm": phases(interpreter=0.012, engine=0.02, vmm=0.08, init=0.02, app=0.04, exit=0.02, clean=0.01),
            "vm_cold": phases(interpreter=0.012, engine=0.02, vmm=0.09, kernel=1.6, init=0.2, app=0.02, clean=0.01),
            "container": phases(interpreter=0.01, engine=0.01, init=0.006, app=0.007, exit=0.004, clean=0.002),
        },
        "probes": [probe(number) for number in range(20)],
        "density": {"vm": density(20.4e6), "container": density(0.31e6)},
        "load": [load("cpu", "events/s", 0.31), load("fsync", "ops/s", 0.8), load("latency", "us", 2.4)],
        "portability": {"platforms": ["linux/amd64"], "save_s": 0.4, "archive_bytes": 2_100_000, "needs": ["QEMU"]},
        "only": [
            {"side": "vm", "what": "load a kernel module", "tried": "insmod dummy", "works": True, "why": "own kernel",
             "outcomes": {"vm": {"works": True, "seen": "1 of its own"}, "container": {"works": False, "seen": ""}}},
            {"side": "container", "what": "share a page cache", "tried": True, "works": None, "why": "one kernel"},
        ],
        "stacks": {name: [layer(level) for level in levels] for name, levels in STACKS.items()},
    }  # fmt: skip


def comparison(samples: dict[str, list[float]], key: str) -> dict[str, Any]:
    ratio = statistics.compare(samples[f"vm.{key}"], samples[f"container.{key}"])
    assert ratio
    values = {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, "shown": ratio.shown}
    tested = {"p": None, "effect": None, "resolution": ratio.resolution}
    return {"quantity": key, "first": "vm", "second": "container", **values, **tested}


def phases(**parts: float) -> list[dict[str, Any]]:
    total = sum(parts.values())
    return [
        {"name": name, "median_s": size, "low": size * 0.9, "high": size * 1.1, "share": size / total}
        for name, size in parts.items()
    ]


def probe(number: int) -> dict[str, Any]:
    results = ("refused", "works", "absent", "not tried")
    outcomes = {
        side: {"result": results[(number + shift) % 4], "detail": f"EPERM after {number} calls"}
        for side, shift in (("vm", 1), ("container", 0))
    }
    what = "opens /proc/sysrq-trigger for writing, without writing to it"
    return {"name": f"probe-{number}", "title": f"Probe {number}", "what": what, "source": "", "outcomes": outcomes}


def density(slope: float) -> dict[str, Any]:
    limits = [
        {"name": "memory", "count": 23e9 // slope, "basis": "free memory divided by the measured slope"},
        {"name": "bridge ports", "count": 1023, "basis": "the kernel's limit of a bridge"},
        {"name": "addresses", "count": 65_533, "basis": "the network's prefix"},
    ]
    binds = min(limits, key=lambda limit: float(str(limit["count"])))["name"]
    points = [[number, number * slope + 5e6] for number in range(1, 6)]
    return {"limits": limits, "binds": binds, "slope_bytes": slope, "points": points}


def load(name: str, unit: str, ratio: float) -> dict[str, Any]:
    subjects = {
        subject: {
            **{name: 1000 * value * share for name, share in (("median", 1.0), ("low", 0.98), ("high", 1.02))},
            **{name: value * share for name, share in (("ratio", 1.0), ("ratio_low", 0.97), ("ratio_high", 1.03))},
        }
        for subject, value in (("plain", 1.0), ("container", 0.99), ("vm", ratio))
    }
    gap = "fio is not installed" if name == "fsync" else ""
    return {
        "name": name,
        "unit": unit,
        "tool": "sysbench 1.0",
        "higher_is_better": unit != "us",
        "subjects": subjects,
        "gap": gap,
    }


def layer(level: str) -> dict[str, Any]:
    shared = level in ("Infrastructure", "Host OS")
    return {"layer": level, "name": NAMES.get(level, level.lower()), "version": "", "shared": shared}


def poisoned(value: Any) -> Any:
    """The same document with hostile text in every string that is free."""
    if isinstance(value, dict):
        return {key: inner if key in FIXED else poisoned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner) for inner in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


# Names that stand for one of a few words, or for other names of the same document.
FIXED = {
    "choice",
    "holds",
    "accelerator",
    "result",
    "unit",
    "effort",
    "kind",
    "binds",
    "verdict",
    "outcome",
    "side",
    "first",
}
FIXED |= {"second", "quantity"}
