"""What has been measured and observed so far: the only thing that rows, advice and reports look at.

Promise: a key of `samples` names subject, quantity and unit ("vm.first_output_s"); what could not be
measured has a reason in `gaps` under the same key, and nothing is ever put in its place.
"""

from __future__ import annotations

from twinhull.compare import statistics
from twinhull.compare.statistics import Ratio, Summary
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SIDES = {"vm": "VM", "container": "container"}
STARTS = ("first_output_s", "healthy_s")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


class ImageFacts(NamedTuple):
    """The image under comparison. Sizes in bytes; 0 or () where it could not be found out."""

    reference: str
    digest: str = ""
    platform: str = ""
    transfer_bytes: int = 0
    unpacked_bytes: int = 0
    platforms: tuple[str, ...] = ()
    platforms_source: str = ""  # where the list of platforms was seen
    command: tuple[str, ...] = ()


class Description(NamedTuple):
    """One subject of the comparison. `gap` says why it was not measured, "" if it was."""

    name: str
    title: str
    kind: str  # container, vm, machine or reference
    gap: str = ""


class Monitor(NamedTuple):
    """The virtual machine monitor's process, as /proc/PID/status of a running one shows it."""

    uid: int
    capabilities: int
    seccomp: bool
    shared_namespaces: tuple[str, ...]  # with the host
    open_files: tuple[str, ...] = ()  # each kind or path once


class Findings:
    """Grows while measuring; rows are built from whatever is in it."""

    def __init__(self, image: ImageFacts, effort: str = "quick") -> None:
        self.image = image
        self.effort = effort
        self.argv: tuple[str, ...] = ()  # the command that measures all of this again
        self.subjects: list[Description] = []
        self.samples: dict[str, list[float]] = {}
        self.gaps: dict[str, str] = {}
        self.inside: dict[str, dict[str, str]] = {}  # subject or "host" -> what the probe printed
        self.accelerator = ""  # kvm, tcg, or "" while unknown
        self.accelerator_reason = ""
        self.monitor: Monitor | None = None
        self.machine_monitor: Monitor | None = None
        self.parts: dict[str, dict[str, float]] = {}  # subject -> process name -> bytes of one instance
        self.weights: dict[str, dict[str, float]] = {}  # subject -> tasks and files of one instance
        self.guest_kernel_bytes = 0
        self.template_bytes = 0  # the memory that the holder of a template keeps for all VMs of it
        self.copies = 0
        self.idle_command: tuple[str, ...] = ()
        # Sections of the document: one that was not measured is empty, and the reason is in `gaps` under its name.
        self.probes: list[dict[str, Any]] = []  # known ways out, with the outcome of each place
        self.density: dict[str, dict[str, Any]] = {}  # subject -> how many fit, by which limit
        self.load: list[dict[str, Any]] = []  # performance, as a ratio to a plain process
        self.portability: dict[str, Any] = {}
        self.only: list[dict[str, Any]] = []  # what only one side can do
        self.stacks: dict[str, list[dict[str, Any]]] = {}  # subject -> its layers, the lowest first
        self.exit_codes: dict[str, int] = {}  # subject -> the workload's exit status, where it failed
        self.limits: list[str] = []  # what this machine could not do, in sentences
        self.summaries: dict[tuple[str, int], Summary] = {}

    def add(self, key: str, value: float) -> None:
        """Add one sample."""
        self.samples.setdefault(key, []).append(value)

    def gap(self, key: str, reason: str) -> None:
        """Say why something was not measured; the first reason stays."""
        self.gaps.setdefault(key, reason)

    @property
    def start(self) -> str:
        """What a start is timed by: the first byte, or of a service that writes nothing the first answer."""
        return started_by(self.samples)

    def summary(self, key: str) -> Summary | None:
        """Median and interval of one quantity; None without samples."""
        values = self.samples.get(key)
        if not values:
            return None
        known = (key, len(values))
        if known not in self.summaries:
            self.summaries[known] = statistics.summarise(values)
        return self.summaries[known]

    def ratio(self, first: str, second: str) -> Ratio | None:
        """Compare two quantities; None if either was not measured."""
        return statistics.compare(self.samples.get(first, ()), self.samples.get(second, ()))

    def runs(self, subject: str) -> bool:
        """True if a subject takes part and is no gap as a whole."""
        return subject not in self.gaps and any(found.name == subject for found in self.subjects)

    def reason(self, key: str) -> str:
        """Why there is no figure. A side that does not run at all is told of once, above the table or below."""
        side = key.partition(".")[0].partition("_")[0]  # vm_cold is a vm
        if side in self.gaps:
            return f"no {SIDES.get(side, side)} ran"
        return self.gaps.get(key) or self.gaps.get(key.partition(".")[0]) or "not measured"


def started_by(samples: Mapping[str, Sequence[float]]) -> str:
    """The quantity that a start is timed by in these samples."""
    seen = [quantity for quantity in STARTS if any(samples.get(f"{side}.{quantity}") for side in SIDES)]
    return (*seen, *STARTS)[0]


def parse_probe(text: str) -> dict[str, str]:
    """Read what the probe printed, `name value` a line. What comes from a guest is only ever shown, cut short."""
    facts = {}
    for line in text.splitlines()[:64]:
        name, _, value = line.partition(" ")
        facts[name[:40]] = "".join(char for char in value[:4000] if char.isprintable())
    return facts


def shared_namespaces(inside: Mapping[str, str], host: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (shared with the host, own) by the namespaces' inode numbers.

    The numbers mean something within one kernel only: under another kernel nothing is shared.
    """
    known = [name for name in NAMESPACES if f"namespace-{name}" in inside and f"namespace-{name}" in host]
    if inside.get("boot-id") != host.get("boot-id"):
        return (), tuple(known)
    shared = tuple(name for name in known if inside[f"namespace-{name}"] == host[f"namespace-{name}"])
    return shared, tuple(name for name in known if name not in shared)


def number(facts: Mapping[str, str], name: str) -> int | None:
    """The first word of a fact as a number; None if it is not there or is none."""
    words = facts.get(name, "").split()
    return int(words[0]) if words and words[0].isascii() and words[0].isdigit() else None
