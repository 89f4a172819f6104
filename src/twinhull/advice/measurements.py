"""The last comparisons on this machine, one row an image, accelerator, kernel and what was compared. Pure.

Promise: a row counts only under the kernel and the accelerator it was measured with; KVM and TCG are never mixed, nor
figures of two runs, but for those of a machine: it is the same beside every image, and its figures say so.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.advice.question import Cost, Measured
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twinhull.advice.question import Accelerator

SCHEMA = 1
MAX_ROWS = 64
WEIGHTS = ("tasks", "files", "disk_bytes", "idle_percent")
QUANTITIES = ("first_output_s", "healthy_s", "memory_bytes", "kernel_bytes", *WEIGHTS)
CHOICES = ("container", "vm", "machine")


class Row(NamedTuple):
    """One comparison: medians by "subject.quantity"; `when` in seconds since the epoch."""

    digest: str
    image: str
    accelerator: str
    kernel: str
    when: float
    medians: dict[str, float]
    template_bytes: float = 0.0


def wanted(medians: Mapping[str, float]) -> dict[str, float]:
    """The few quantities that advice looks at."""
    names = [f"{choice}.{quantity}" for choice in CHOICES for quantity in QUANTITIES]
    return {name: round(medians[name], 6) for name in names if medians.get(name, 0) > 0}


def parse(text: str | bytes) -> tuple[Row, ...]:
    """The rows of a document, the newest last; none of one that is damaged or of another schema."""
    try:
        document = jsontext.loads(text)
        if document["schema"] != SCHEMA:
            return ()
        return tuple(Row(**row) for row in document["rows"])
    except (ValueError, TypeError, KeyError):
        return ()


def text_with(rows: Iterable[Row], row: Row) -> str:
    """The document with one more row, which takes the place of an earlier one of the same key; the oldest forgotten."""
    kept = [other for other in rows if key(other) != key(row)]
    listed = [*kept, row][-MAX_ROWS:]
    return jsontext.dumps({"schema": SCHEMA, "rows": [each._asdict() for each in listed]})


def key(row: Row) -> tuple[str, str, str, tuple[str, ...]]:
    """What two rows are of the same by."""
    return row.digest, row.accelerator, row.kernel, compared(row)


def compared(row: Row) -> tuple[str, ...]:
    """The isolations that it measured."""
    return tuple(choice for choice in CHOICES if any(name.startswith(f"{choice}.") for name in row.medians))


def pick(rows: Iterable[Row], *, digest: str, accelerator: str, kernel: str) -> Measured:
    """The last row of this image, else the last of another, measured under this kernel and accelerator.

    One that has both a container and a VM comes before later ones that do not. A machine's figures are the last that
    there are, in whichever row.

    Args:
        accelerator: "" takes what was measured last. A row of containers alone has none, and fits any.
    """
    here = [row for row in rows if row.kernel == kernel]
    fitting = [row for row in here if not accelerator or row.accelerator in ("", accelerator)]
    own = [row for row in fitting if digest and row.digest == digest]
    found = own or fitting
    both = [row for row in found if {"container", "vm"} <= {*compared(row)}]
    if not found:
        return Measured()
    answer = measured((both or found)[-1], own=bool(own))
    machines = [row for row in fitting if "machine" in compared(row)]
    if answer.machine == Cost() and machines:
        answer = answer._replace(machine=cost(machines[-1], "machine"), machine_apart=True)
    return answer


def measured(row: Row, *, own: bool) -> Measured:
    """The costs that a row shows."""
    container, vm, machine = (cost(row, choice) for choice in CHOICES)
    vm = vm._replace(shared_bytes=row.template_bytes if vm.memory_bytes else 0.0)
    kind: Accelerator = "kvm" if row.accelerator == "kvm" else "tcg" if row.accelerator == "tcg" else ""
    return Measured(row.image, own, row.when, kind, container, vm, machine)


def cost(row: Row, choice: str) -> Cost:
    """One isolation's; the kernel's memory belongs to what one more instance takes.

    A service that writes nothing has started when it answers.
    """
    found = {quantity: row.medians.get(f"{choice}.{quantity}", 0.0) for quantity in QUANTITIES}
    memory = found["memory_bytes"]
    start = found["first_output_s"] or found["healthy_s"]
    weights = {name: found[name] for name in WEIGHTS}
    return Cost(start, memory + found["kernel_bytes"] if memory else 0.0, **weights)
