"""list, ps, events, update, features and spec: the verbs of `twinhull-oci` that tell or change, but start nothing."""

from __future__ import annotations

import os
import pwd
import re
import sys
from time import monotonic

from twinhull import jsontext
from twinhull.cli.oci import identity_of, report, root_of
from twinhull.cli.oci_options import Options
from twinhull.errors import Conflict, InvalidRequest
from twinhull.host import files
from twinhull.host.facts import read_facts
from twinhull.host.spawn import run_tool
from twinhull.oci import runtime_features
from twinhull.plan.shape import RESOURCES, check_object
from twinhull.runtime.oci import groups, life
from twinhull.runtime.oci import record as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMITS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-share": ("cpu", "shares"),
    "cpu-idle": ("cpu", "idle"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "pids-limit": ("pids", "limit"),
}
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
DEFAULT_INTERVAL = "5s"
DURATIONS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

LISTED = ("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner")  # runc's order


def run_list(options: Options, given: Options, words: list[str]) -> int:
    """Show all containers."""
    root = root_of(options)
    if given.value("format") not in ("", "table", "json"):
        raise InvalidRequest(f"--format: {given.value('format')!r} is neither table nor json")
    try:
        names = sorted(name for name in os.listdir(root) if not name.startswith("."))
    except FileNotFoundError:
        names = []
    if given.flag("quiet"):
        sys.stdout.write("".join(f"{name}\n" for name in names))
        return 0
    rows = []
    for name in names:
        record = records.load(root, name)
        if record.pid or not records.is_held(records.directory(root, name)):
            owner = os.stat(records.directory(root, name)).st_uid
            rows.append({**records.document(root, record), "owner": user_name(owner)})
    if given.value("format") == "json":
        print(jsontext.dumps([{key: row[key] for key in LISTED if key in row} for row in rows], compact=True))
        return 0
    columns = ("id", "pid", "status", "bundle", "created", "owner")
    lines = [tuple(name.upper() for name in columns), *(tuple(str(row[name]) for name in columns) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        print("   ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    return 0


def user_name(uid: int) -> str:
    """The name of a user, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def run_ps(options: Options, given: Options, words: list[str]) -> int:
    """Show a container's processes: as pids, or as ps shows them."""
    root = root_of(options)
    record = records.load(root, words[0] if words else identity_of(words))
    pids = life.processes(record)
    if given.value("format") == "json":
        print(jsontext.dumps(pids))
        return 0
    if given.value("format") not in ("", "table"):
        raise InvalidRequest(f"invalid format option {given.value('format')!r}")
    listed = run_tool(["ps", *(words[1:] or ["-ef"])]).stdout.splitlines()
    column = listed[0].split().index("PID")
    print(listed[0])
    for line in listed[1:]:
        if int(line.split()[column]) in pids:
            print(line)
    return 0


def run_events(options: Options, given: Options, words: list[str]) -> int:
    """Print the statistics once, or again and again until the container has ended; and each kill for want of memory."""
    from twinhull.runtime.oci.oom import Watch

    root, identity = root_of(options), identity_of(words)
    interval_s = duration(given.value("interval") or DEFAULT_INTERVAL)
    with Watch(records.load(root, identity)) as watch:
        while True:
            record = records.load(root, identity)
            if records.status(root, record) not in ("running", "paused", "created"):
                if given.flag("stats"):
                    raise Conflict(f"container with id {identity} is not running")
                return 0
            row = {"type": "stats", "id": identity, "data": groups.statistics(record)}
            print(jsontext.dumps(row, compact=True), flush=True)
            if given.flag("stats"):
                return 0
            deadline = monotonic() + interval_s
            while (left := deadline - monotonic()) > 0 and records.is_alive(record):
                if watch.wait(left):
                    print(jsontext.dumps({"type": "oom", "id": identity}, compact=True), flush=True)


def duration(text: str) -> float:
    """Seconds in a duration as Go writes them (1m30s, 500ms), or in a plain number.

    Raises:
        InvalidRequest: it is none, or not longer than nothing.
    """
    parts = re.findall(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", text)
    seconds = sum(float(number) * DURATIONS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text.removeprefix("+"):
        seconds = float(text) if text.isdecimal() else 0.0
    if seconds <= 0:
        raise InvalidRequest(f"--interval: {text!r} is no duration longer than nothing, such as 5s or 500ms")
    return seconds


def run_update(options: Options, given: Options, words: list[str]) -> int:
    """Change limits."""
    resources: dict[str, Any] = {}
    if source := given.value("resources"):
        text = sys.stdin.buffer.read() if source == "-" else files.read(source)
        try:
            resources = jsontext.loads(text)
        except ValueError as error:
            raise InvalidRequest(f"--resources: {error}") from None
        check_object(resources, RESOURCES, "linux.resources")
    for option, (section, key) in LIMITS.items():
        if text := given.value(option):
            resources.setdefault(section, {})[key] = text if option.startswith("cpuset") else quantity(option, text)
    resources.pop("devices", None) if not resources.get("devices") else None
    root, identity = root_of(options), identity_of(words)
    groups.update(root, identity, resources)
    if (memory := resources.get("memory") or {}).get("kernel"):
        from twinhull.runtime.oci.limits import warn_of_ignored

        warn_of_ignored(records.load(root, identity), memory, lambda text: report(options, "warning", text))
    return 0


def quantity(option: str, text: str) -> int:
    """A number, of bytes with its unit: 64m."""
    factor = UNITS.get(text[-1].lower(), 1) if option.startswith(("memory", "kernel")) else 1
    digits = text[:-1] if factor > 1 else text
    if not digits.removeprefix("-").isdecimal():
        raise InvalidRequest(f"--{option}: {text!r} is no number")
    return int(digits) * factor


def run_features(options: Options, given: Options, words: list[str]) -> int:
    """Print what this runtime honours, as the specification's features document."""
    import json

    from twinhull.cli.oci_containers import called, isolation_of

    guest = isolation_of(options.value("isolation"), {}, called()) == "vm"
    print(json.dumps(runtime_features.document(guest=guest), indent=2))
    return 0


def run_spec(options: Options, given: Options, words: list[str]) -> int:
    """Write a config.json to begin with."""
    import json

    path = os.path.join(given.value("bundle") or ".", "config.json")
    if os.path.exists(path):
        raise Conflict(f"file {path} exists. Remove it first")
    user = (os.geteuid(), os.getegid()) if given.flag("rootless") else None
    spec = runtime_features.example(unified=not read_facts().cgroup1, rootless=user)
    with open(path, "x", encoding="utf-8") as file:
        file.write(json.dumps(spec, indent=2) + "\n")
    return 0
