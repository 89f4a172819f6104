"""The layers under one running workload, from the machine up to the program.

Promise: a layer shows names and versions that were read from what runs; what could not be read is
said to be unknown.
"""

from __future__ import annotations

import itertools

from twinhull.host.facts import read
from twinhull.host.machine import Machine, system
from twinhull.host.memory import costs, tree
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from twinhull.model import Isolation

    Level = Literal["Infrastructure", "Host OS", "Hypervisor", "Guest OS", "Engine", "App", "Services"]

GIB = 1 << 30
SERVICES_IN_A_ROW = 4
AGENT = "its first process is the agent; the workload is process 1 of a pid namespace of its own"

# What keeps a guest from the host, by QEMU's own security policy.
WALLS = {
    "kvm": "KVM: the processor keeps the guest apart",
    "tcg": "TCG: every instruction translated; not a security boundary",
}


class Layer(NamedTuple):
    """One layer; `details` are short sentences for people."""

    level: Level
    name: str
    details: tuple[str, ...]


class Above(NamedTuple):
    """What was seen from inside the workload; "" where nothing could be read.

    Attributes:
        kernel: the release that a program inside sees.
        os_release: the text of the image's os-release(5).
    """

    image: str
    command: tuple[str, ...]
    kernel: str
    os_release: str


class Hypervisor(NamedTuple):
    """The monitor of one guest."""

    version: str
    accelerator: str  # kvm, tcg or ""
    guest_origin: str  # where the guest's kernel came from
    emulated: str = ""  # the guest's processor, where it is not the host's


class System(NamedTuple):
    """The operating system of a machine, as its own agent tells it; "" and 0 where nobody answered.

    Attributes:
        disk: the name of what it was created from.
        coming: it is still starting what it starts.
    """

    disk: str
    name: str = ""
    kernel: str = ""
    init: str = ""
    processes: int = 0
    services: tuple[str, ...] = ()
    coming: bool = False


def system_layers(
    machine: Machine, hypervisor: Hypervisor, system: System, *, processes: Iterable[str] = ()
) -> tuple[Layer, ...]:
    """Put the layers of a machine on each other, the lowest first.

    Args:
        processes: names of the host's processes that belong to the machine.
    """
    running = f"processes on the host: {', '.join(processes) or 'none seen'}"
    wall = WALLS.get(hypervisor.accelerator, "accelerator unknown")
    origin = f"from the disk {system.disk}"
    if not system.name:
        guest: tuple[Layer, ...] = (Layer("Guest OS", "unknown: no guest agent answers", (origin,)),)
    else:
        inside = f"process 1 is {system.init or 'unknown'}, {system.processes} processes"
        inside += "; it is still starting" if system.coming else ""
        listed = tuple(", ".join(row) for row in in_rows(system.services, SERVICES_IN_A_ROW))
        guest = (
            Layer("Guest OS", system.name, (f"Linux {system.kernel}" if system.kernel else origin, inside, origin)),
            Layer("Services", f"{len(system.services)} run" if listed else "unknown", listed),
        )
    return (
        infrastructure(machine),
        Layer("Host OS", machine.system, (f"Linux {machine.kernel}",)),
        Layer("Hypervisor", f"QEMU {hypervisor.version}", (wall, running)),
        *guest,
    )


def in_rows(names: tuple[str, ...], width: int) -> Iterator[tuple[str, ...]]:
    """Give so many names at a time."""
    yield from (names[start : start + width] for start in range(0, len(names), width))


def layers(
    machine: Machine,
    isolation: Isolation,
    above: Above,
    *,
    engine: str,
    processes: Iterable[str] = (),
    hypervisor: Hypervisor | None = None,
) -> tuple[Layer, ...]:
    """Put the layers on each other, the lowest first.

    Args:
        engine: name and version of the engine.
        processes: names of the host's processes that belong to the workload.
    """
    running = f"processes on the host: {', '.join(processes) or 'none seen'}"
    below = (infrastructure(machine), Layer("Host OS", machine.system, (f"Linux {machine.kernel}",)))
    middle: tuple[Layer, ...]
    if isolation == "vm":
        middle = virtual(hypervisor or Hypervisor("unknown", "", ""), above, running)
    else:
        middle = (Layer("Engine", engine, (running, shared_kernel(machine, above))),)
    return *below, *middle, application(above)


def infrastructure(machine: Machine) -> Layer:
    """The hardware, or what stands in its place."""
    size = f"{machine.memory_bytes / GIB:.1f} GiB"
    details = [f"{machine.processors} CPUs, {size}, {machine.architecture}"]
    if machine.host.hypervisor:
        details.append(f"a virtual machine of {machine.host.hypervisor} ({machine.host.hypervisor_evidence})")
    else:
        details.append(f"not seen to be virtual: {machine.host.hypervisor_evidence}")
    if machine.host.container:
        details.append(f"in a container of {machine.host.container} ({machine.host.container_evidence})")
    return Layer("Infrastructure", machine.processor, tuple(details))


def virtual(hypervisor: Hypervisor, above: Above, running: str) -> tuple[Layer, Layer]:
    """The two layers that only a VM has."""
    accelerator = WALLS.get(hypervisor.accelerator, "accelerator unknown")
    origin = (f"from {hypervisor.guest_origin}",) if hypervisor.guest_origin else ()
    emulated = (f"the guest's processor is {hypervisor.emulated}",) if hypervisor.emulated else ()
    kernel = f"Linux {above.kernel}" if above.kernel else "Linux, release unknown"
    return (
        Layer("Hypervisor", f"QEMU {hypervisor.version}", (accelerator, *emulated, running)),
        Layer("Guest OS", kernel, (*origin, AGENT)),
    )


def shared_kernel(machine: Machine, above: Above) -> str:
    """Whether the kernel seen inside is the host's."""
    if not above.kernel:
        return "kernel seen inside: unknown"
    same = above.kernel == machine.kernel
    return f"kernel seen inside: {above.kernel}, {'the same as' if same else 'not'} the host's"


def application(above: Above) -> Layer:
    """The image with its binaries and libraries, and what runs of it."""
    distribution = system(above.os_release) or "no os-release in the image"
    return Layer("App", above.image, (f"binaries and libraries: {distribution}", f"command: {' '.join(above.command)}"))


def accelerator_of(pid: int) -> str:
    """kvm or tcg, from the arguments of a running QEMU; "" if they say neither."""
    return accelerator_in(read(f"/proc/{pid}/cmdline").split("\0"))


def accelerator_in(arguments: list[str]) -> str:
    """Read `-accel NAME[,…]` and `-machine …,accel=NAME`."""
    for flag, value in itertools.pairwise(arguments):
        words = value.split(",")
        if flag == "-accel" and words[0] in ("kvm", "tcg"):
            return words[0]
        for word in words:
            if flag in ("-machine", "-M") and word in ("accel=kvm", "accel=tcg"):
                return word.removeprefix("accel=")
    return ""


def monitor_pid(supervisor: int) -> int:
    """The pid of QEMU below a supervisor; 0 if there is none."""
    return next((cost.pid for cost in costs(tree(supervisor)) if cost.name.startswith("qemu")), 0)


def render(stack: tuple[Layer, ...]) -> str:
    """Boxes as a picture of the stack is drawn: the program on top."""
    width = max(len(text) for layer in stack for text in (f"{layer.level:14}  {layer.name}", *indented(layer)))
    edge = f"+{'-' * (width + 2)}+"
    lines = [edge]
    for layer in reversed(stack):
        texts = [f"{layer.level:14}  {layer.name}", *indented(layer)]
        lines += [f"| {text.ljust(width)} |" for text in texts]
        lines.append(edge)
    return "\n".join(lines)


def indented(layer: Layer) -> list[str]:
    """The details below the name."""
    return [f"{'':14}  {text}" for text in layer.details]
