"""Performance under load: standard tools in each isolation and as a plain process, in turns.

Promise: every place runs the same files with the same arguments, one tool at a time; a ratio is to the plain
process on this host; what could not be measured has its reason in place of figures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from contextlib import ExitStack

from twinhull.compare import abandoned, figures, probe, statistics, tools
from twinhull.compare.run import last_line
from twinhull.compare.session import ISOLATIONS, NOT_NATIVE, Session
from twinhull.compare.subject import MeasurementFailed, flags_of, own_command
from twinhull.errors import TwinhullError
from twinhull.host import spawn
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

PLAIN = "plain"
REPEATS = 6  # so many values have an interval
SECONDS = "1"  # of one run of a tool
LATENCY_SECONDS = "2"  # sockperf leaves out the first 400 ms and the last 550
TIMEOUT_S = 60.0
YIELDS = 100  # system calls of one event of sysbench threads
LATENCY_PORT = "11111"
TOOL_SIZE = "--size=32M"
SYSBENCH = ("--threads=1", f"--time={SECONDS}", "run")
FIO = ("fio", "--name=load", "--filename=/DATA/load", TOOL_SIZE, "--ioengine=psync", f"--runtime={SECONDS}",
       "--time_based", "--output-format=json")  # fmt: skip


class Load(NamedTuple):
    """One measurement. In `argv` /DATA stands for a directory to write to and ADDRESS for the server."""

    name: str
    title: str
    unit: str
    higher_is_better: bool
    argv: tuple[str, ...]
    read: Callable[[str], float]


def events_per_second(text: str) -> float:
    """`sysbench cpu`: the rate that it prints.

    Raises:
        ValueError: it printed none.
    """
    return number(r"events per second:\s+([\d.]+)", text)


def memory_rate(text: str) -> float:
    """`sysbench memory`: MiB/s.

    Raises:
        ValueError: it printed none.
    """
    return number(r"MiB transferred \(([\d.]+) MiB/sec\)", text)


def calls_per_second(text: str) -> float:
    """`sysbench threads`: sched_yield calls a second, from its events and its time.

    Raises:
        ValueError: it printed neither.
    """
    events, seconds = number(r"total number of events:\s+(\d+)", text), number(r"total time:\s+([\d.]+)s", text)
    return events * YIELDS / seconds


def fio_rate(kind: str, field: str) -> Callable[[str], float]:
    """`fio`: one figure of its only job, bytes a second or operations a second."""

    def read(text: str) -> float:
        # Notes may stand before the document.
        return float(json.loads(text[text.index("{") :])["jobs"][0][kind][field])

    return read


def network_rate(text: str) -> float:
    """`iperf3`: bits a second that the server received."""
    return float(json.loads(text)["end"]["sum_received"]["bits_per_second"])


def round_trip(text: str) -> float:
    """`sockperf ping-pong`: microseconds of a round trip; it prints the half of it.

    Raises:
        ValueError: it printed none.
    """
    return 2 * number(r"Latency is ([\d.]+) usec", text)


def number(pattern: str, text: str) -> float:
    """The number that a pattern finds.

    Raises:
        ValueError: it finds none.
    """
    found = re.search(pattern, text)
    if not found:
        raise ValueError(f"no {pattern!r} in {text[-200:]!r}")
    return float(found[1])


LOADS = (
    Load("cpu", "processor", "events/s", True,
         ("sysbench", "cpu", "--cpu-max-prime=5000", *SYSBENCH), events_per_second),
    Load("memory", "memory, written", "MiB/s", True,
         ("sysbench", "memory", "--memory-block-size=1M", "--memory-total-size=1T", *SYSBENCH), memory_rate),
    Load("syscalls", "system calls", "calls/s", True,
         ("sysbench", "threads", f"--thread-yields={YIELDS}", "--thread-locks=1", *SYSBENCH), calls_per_second),
    Load("write", "file, sequential write", "B/s", True,
         (*FIO, "--rw=write", "--bs=1M", "--direct=1"), fio_rate("write", "bw_bytes")),
    Load("read", "file, sequential read", "B/s", True,
         (*FIO, "--rw=read", "--bs=1M", "--direct=1"), fio_rate("read", "bw_bytes")),
    Load("random_read", "file, random read", "reads/s", True,
         (*FIO, "--rw=randread", "--bs=4k", "--direct=1"), fio_rate("read", "iops")),
    Load("fsync", "file, write and fsync", "writes/s", True,
         (*FIO, "--rw=randwrite", "--bs=4k", "--fsync=1"), fio_rate("write", "iops")),
    Load("throughput", "network, to a container", "bit/s", True,
         ("iperf3", "-c", "ADDRESS", "-t", SECONDS, "-J"), network_rate),
    Load("latency", "network, round trip", "us", False,
         ("sockperf", "ping-pong", "-i", "ADDRESS", "-p", LATENCY_PORT, "--tcp", "-t", LATENCY_SECONDS, "--no-rdtsc"),
         round_trip),
)  # fmt: skip


class Place(NamedTuple):
    """Where a tool runs: what stands before it, the root of the tools, and a directory to write to."""

    name: str
    before: tuple[str, ...]
    root: str
    data: str


def measure_load(session: Session, loads: Sequence[Load] = LOADS, repeats: int = REPEATS) -> None:
    """Start one instance of each side and a server, and let the tools run in turns."""
    findings = session.findings
    if not session.native:
        findings.gap("load", NOT_NATIVE)
        return
    session.tell("measuring tools: fetching them, once for this machine")
    try:
        root = tools.obtain(session.config.state)
        with ExitStack() as stack:
            image = stack.enter_context(probe.image_of(session.config, tools.contents(root), "load"))
            server = serve(session, stack, image)
            places = [plain_place(session, stack, root), *start_places(session, stack, image)]
            samples, gaps = run_rounds(session, loads, repeats, places, server)
    except TwinhullError as error:
        findings.gap("load", error.message)
        return
    for key, values in samples.items():
        findings.samples[key] = values
    findings.load = [row(load, samples, gaps) for load in loads]


def start(session: Session, stack: ExitStack, image: str, name: str, isolation: str, command: Sequence[str]) -> str:
    """Start an instance that is removed at the end, and give its name.

    Without --rm: what is to be thrown away would lie in a guest's memory, and no disk would be measured.

    Raises:
        MeasurementFailed: it did not start.
    """
    name = f"compare-{os.getpid()}-load-{name}"
    flags = flags_of(session.subjects[isolation])
    stack.callback(spawn.run_tool, (*own_command(), "rm", "-f", name))
    done = spawn.run_tool((*own_command(), "run", "-d", "--name", name, *flags, image, *command))
    if done.returncode:
        raise MeasurementFailed(last_line(done.stderr) or f"exit status {done.returncode}")
    return name


def serve(session: Session, stack: ExitStack, image: str) -> str:
    """The address of a container with the servers of iperf3 and sockperf; every place reaches it over the bridge.

    Raises:
        MeasurementFailed: it did not start.
    """
    name = start(session, stack, image, "server", "container", tools.command("", ("iperf3", "-s")))
    latency = tools.command("", ("sockperf", "server", "--tcp", "-p", LATENCY_PORT))
    spawn.run_tool((*own_command(), "exec", "-d", name, *latency))
    described = json.loads(spawn.run_tool((*own_command(), "inspect", name)).stdout)[0]
    time.sleep(0.5)
    return str(described["network"]["address"])


def plain_place(session: Session, stack: ExitStack, root: str) -> Place:
    """A process on the host, with its files where the instances of the engine have theirs."""
    data = tempfile.mkdtemp(prefix=f"{abandoned.LOADS}{os.getpid()}-", dir=session.config.state)
    stack.callback(shutil.rmtree, data, ignore_errors=True)
    return Place(PLAIN, (), root, data)


def start_places(session: Session, stack: ExitStack, image: str) -> list[Place]:
    """One waiting instance of each living side; one that does not start is a gap."""
    places = []
    for subject in session.living(*ISOLATIONS):
        try:
            name = start(session, stack, image, subject.name, subject.name, tools.command("", ("iperf3", "-s")))
        except MeasurementFailed as error:
            session.findings.gap(f"{subject.name}.load", error.message)
            continue
        places.append(Place(subject.name, (*own_command(), "exec", name), "", "/tmp"))
    return places


def run_rounds(
    session: Session, loads: Sequence[Load], repeats: int, places: Sequence[Place], server: str
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Run every tool in every place, the order of the places left to chance: (samples, gaps), by place.load_NAME."""
    samples: dict[str, list[float]] = {}
    gaps: dict[str, str] = {}
    for turn in range(repeats):
        for load in loads:
            session.tell(f"load: round {turn + 1} of {repeats}, {load.title}")
            for place in session.chance.sample(places, len(places)):
                key = f"{place.name}.load_{load.name}"
                try:
                    samples.setdefault(key, []).append(run(load, place, server))
                except MeasurementFailed as error:
                    gaps.setdefault(key, error.message)
    return {key: values for key, values in samples.items() if values}, gaps


def run(load: Load, place: Place, server: str) -> float:
    """One run of a tool.

    Raises:
        MeasurementFailed: it ended with an error, or its output has no figure.
    """
    words = [word.replace("/DATA", place.data).replace("ADDRESS", server) for word in load.argv]
    done = spawn.run_tool(("timeout", f"{TIMEOUT_S:.0f}", *place.before, *tools.command(place.root, words)))
    if done.returncode:
        raise MeasurementFailed(last_line(done.stderr) or last_line(done.stdout) or f"status {done.returncode}")
    try:
        return load.read(done.stdout)
    except (ValueError, KeyError, IndexError) as error:
        raise MeasurementFailed(f"{load.argv[0]}: {error}") from error


def row(load: Load, samples: Mapping[str, Sequence[float]], gaps: Mapping[str, str]) -> dict[str, Any]:
    """One measurement as the document has it: each place's median, and its ratio to the plain process."""
    subjects: dict[str, dict[str, float | str]] = {}
    for name in (PLAIN, *reversed(ISOLATIONS)):
        values = samples.get(f"{name}.load_{load.name}")
        if not values:
            continue
        summary = statistics.summarise(values)
        subjects[name] = {key: getattr(summary, key) for key in ("median", "low", "high", "bounds")}
        ratio = statistics.compare(values, samples.get(f"{PLAIN}.load_{load.name}", ()))
        if name != PLAIN and ratio:
            subjects[name] |= {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
            subjects[name]["ratio_bounds"] = ratio.bounds
    missing = [f"{key.partition('.')[0]}: {why}" for key, why in gaps.items() if key.endswith(f".load_{load.name}")]
    return {
        "name": load.name,
        "title": load.title,
        "unit": load.unit,
        "tool": " ".join(load.argv[:2]) if load.argv[0] == "sysbench" else load.argv[0],
        "higher_is_better": load.higher_is_better,
        "subjects": subjects,
        "gap": "; ".join(missing),
    }


def told(load: Sequence[Mapping[str, Any]], side: str) -> str:
    """One phrase: the speed of a side as a share of the plain process's, with its interval; "" if it was not measured.

    Where the interval holds 1, no difference was shown, and the figure would say more than is known.
    """
    shown, alike = [], []
    for one in load:
        found = one["subjects"].get(side, {})
        if "ratio" not in found:
            continue
        name, speeds = one["name"].replace("_", " "), [found[key] for key in ("ratio", "ratio_low", "ratio_high")]
        if not one["higher_is_better"]:
            speeds = [1 / speeds[0], 1 / speeds[2], 1 / speeds[1]]
        speed, low, high = speeds
        if low <= 1 <= high:
            alike.append(name)
        else:
            shown.append(
                f"{name} {speed:.2g} {figures.ends(f'{low:.2g}', f'{high:.2g}', found.get('ratio_bounds', ''))}"
            )
    parts = [f"speed, of a plain process: {', '.join(shown)}"] if shown else []
    parts += [f"no difference from a plain process shown: {', '.join(alike)}"] if alike else []
    return "; ".join(parts)
