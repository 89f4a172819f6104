"""The names of what is measured: subjects, quantities, and the units that their keys end in.

Promise: a key of `samples` is SUBJECT.QUANTITY_UNIT; one that this table does not know is shown under its own name.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Unit = Literal["s", "B", "%", ""]

SUBJECTS = {
    "vm": "VM",
    "vm_template": "VM, from its template alone",
    "vm_cold": "VM, cold boot",
    "container": "container",
    "machine": "machine (full guest OS)",
    "docker": "docker",
    "podman": "podman",
    "crun": "crun",
    "plain": "plain process",
}
# The kinds of start that people name after the quantity: vm.startup.cold is vm_cold.startup.
VARIANTS = {"template": "vm_template", "cold": "vm_cold"}
SUFFIXES: dict[str, Unit] = {"_s": "s", "_bytes": "B", "_percent": "%"}


class Quantity(NamedTuple):
    """One thing that is measured of a subject.

    Attributes:
        key: the second half of a key of `samples`.
        name: what people write in a condition.
        unit: s, B (bytes), %, or "" for a count.
    """

    key: str
    name: str
    title: str
    unit: Unit


QUANTITIES = (
    Quantity("first_output_s", "startup", "start to the first byte", "s"),
    Quantity("spawned_s", "spawned", "start to the process", "s"),
    Quantity("kernel_s", "kernel", "start to the guest's first step", "s"),
    Quantity("init_s", "init", "start to process 1", "s"),
    Quantity("ready_s", "ready", "start to all prepared", "s"),
    Quantity("healthy_s", "healthy", "start to the first answer", "s"),
    Quantity("total_s", "exit", "start to the exit", "s"),
    Quantity("clean_s", "clean", "start to all undone", "s"),
    Quantity("exec_s", "exec", "exec, round trip", "s"),
    Quantity("stop_s", "stop", "stop", "s"),
    Quantity("copies_s", "copies", "many copies at once", "s"),
    Quantity("memory_bytes", "memory", "memory of one more", "B"),
    Quantity("kernel_bytes", "kernel-memory", "kernel memory of one more", "B"),
    Quantity("disk_bytes", "disk", "disk of one more", "B"),
    Quantity("idle_percent", "idle", "processor while idle", "%"),
)
# What a start is divided into, and what is measured under load, have sections of their own in the document; their
# samples are SUBJECT.phase_NAME_s and SUBJECT.load_NAME.
PHASE, LOAD = "phase_", "load_"
PHASES = ("interpreter", "engine", "vmm", "kernel", "init", "app", "exit", "clean")
LOADS = ("cpu", "memory", "syscalls", "write", "read", "random_read", "fsync", "throughput", "latency")
BY_KEY = {quantity.key: quantity for quantity in QUANTITIES}
BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}


def split(key: str) -> tuple[str, Quantity]:
    """The subject and the quantity of a key: "vm.memory_bytes" -> ("vm", memory)."""
    subject, _, rest = key.partition(".")
    return subject, BY_KEY.get(rest) or unknown(rest)


def is_part(key: str) -> bool:
    """True for a sample of a phase or of a load, which is shown with its section and not by itself."""
    return key.partition(".")[2].startswith((PHASE, LOAD))


def unknown(key: str) -> Quantity:
    """A quantity that the table does not have, named after its key."""
    for suffix, unit in SUFFIXES.items():
        if key.endswith(suffix):
            name = key.removesuffix(suffix)
            return Quantity(key, name.replace("_", "-"), name.replace("_", " "), unit)
    return Quantity(key, key, key.replace("_", " "), "")
