"""The six rows of the comparison, each cell a measurement or an observed fact of this run.

Promise: a cell without a figure says why; a claim is judged only by what stands in its line.
"""

from __future__ import annotations

from twinhull.advice.advise import Advice
from twinhull.compare import density, escapes, figures, load, only, probe
from twinhull.compare import portability as moving
from twinhull.compare.findings import Findings, number, shared_namespaces
from twinhull.compare.startup_row import startup_row
from twinhull.compare.statistics import Ratio
from twinhull.compare.table import Cell, Line, Row, quantity_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.compare.table import Holds

TOPICS = ("OS", "Startup", "Isolation", "Resources", "Portability", "Use cases")


def system_row(findings: Findings) -> Row:
    """OS: which kernel answers inside, and how much of the machine it shows."""
    vm, container, full, host = (findings.inside.get(name, {}) for name in ("vm", "container", "machine", "host"))
    kernels = Line(
        Cell(kernel(vm, host) or f"kernel: {findings.reason('vm.inside')}"),
        Cell(kernel(container, host) or f"kernel: {findings.reason('container.inside')}"),
        note=kernel_note(vm, container),
        claim="full OS",
        holds=own_system(full or vm, host),
        machine=Cell(kernel(full, host)),
    )
    if not vm and not container:
        return Row("OS", (kernels,))
    return Row(
        "OS",
        (
            kernels,
            Line(Cell(sees(vm)), Cell(sees(container)), machine=Cell(sees(full))),
            Line(Cell(first_process(vm)), Cell(first_process(container)), machine=Cell(first_process(full))),
            Line(Cell(""), Cell(""), machine=Cell(services(full))),
            Line(Cell(escapes.runs(vm)), Cell(escapes.runs(container))),
        ),
    )


def kernel(inside: dict[str, str], host: dict[str, str]) -> str:
    """Whose kernel it is, by the boot that it belongs to."""
    if not inside:
        return ""
    release = inside.get("release", "of unknown release")
    if inside.get("boot-id") == host.get("boot-id"):
        return f"host's kernel {release}"
    return f"own kernel {release}"


def kernel_note(vm: dict[str, str], container: dict[str, str]) -> str:
    """How many kernels run for one workload on each side."""
    if not vm or not container:
        return ""
    return "one kernel" if vm.get("boot-id") == container.get("boot-id") else "two kernels"


def own_system(guest: dict[str, str], host: dict[str, str]) -> Holds:
    """A full OS is a kernel and a system of services on it; a kernel of its own is a part of that."""
    if not guest or not host:
        return "not measured"
    if guest.get("boot-id") == host.get("boot-id"):
        return "not here"
    return "holds" if number(guest, "services") else "in part"


def sees(inside: dict[str, str]) -> str:
    """The machine as a program inside sees it."""
    memory, processors = number(inside, "memory-kb"), number(inside, "processors")
    if memory is None or processors is None:
        return ""
    return f"sees {figures.quantity(memory * 1024, 'B')}, {processors} CPU{'s' * (processors != 1)}"


def first_process(inside: dict[str, str]) -> str:
    """Who is process 1 inside, and how many processes there are; the workload here is the probe."""
    first, count = inside.get("process-1", ""), number(inside, "processes")
    if not first or count is None:
        return ""
    who = "the workload, no init" if first == probe.PROBE else first
    return f"process 1 is {who}; {count} process{'es' * (count != 1)}"


def services(inside: dict[str, str]) -> str:
    """The system on the kernel, and how much of it runs without being asked."""
    count = number(inside, "services")
    return f"{inside.get('system', 'a system')}, {count} services run" if count else ""


def isolation_row(findings: Findings) -> Row:
    """Isolation: who promises the wall, what is shared, which kernel's system calls can be reached."""
    lines = [
        Line(
            Cell(promise(findings)),
            Cell("promised by host's kernel") if "container" in findings.inside else Cell(""),
            claim="stronger",
            holds=wall(findings.accelerator),
            machine=Cell(promise(findings) if findings.runs("machine") else ""),
        ),
        Line(
            Cell(namespaces(findings, "vm")),
            Cell(namespaces(findings, "container")),
            machine=Cell(namespaces(findings, "machine") if findings.runs("machine") else ""),
        ),
        Line(Cell(calls(findings, "vm")), Cell(calls(findings, "container"))),
    ]
    if findings.monitor:
        lines.append(Line(Cell(monitor(findings)), Cell(privileges(findings.inside.get("container", {})))))
    if findings.probes:
        lines.append(Line(Cell(escapes.told(findings.probes, "vm")), Cell(escapes.told(findings.probes, "container"))))
    return Row("Isolation", tuple(lines))


def wall(accelerator: str) -> Holds:
    """Whether the VM is the stronger wall."""
    return "holds" if accelerator == "kvm" else "not here" if accelerator == "tcg" else "not measured"


def promise(findings: Findings) -> str:
    """Who answers for the wall around the guest."""
    if findings.accelerator == "kvm":
        return "promised by KVM and the processor"
    if findings.accelerator == "tcg":
        return "promised by nobody (TCG)"
    return f"the wall: {findings.reason('vm')}"


def namespaces(findings: Findings, subject: str) -> str:
    """Namespaces in common with the host, by their inode numbers."""
    inside, host = findings.inside.get(subject), findings.inside.get("host", {})
    if not inside:
        return f"namespaces: {findings.reason(f'{subject}.inside')}"
    if inside.get("boot-id") != host.get("boot-id"):
        return "shares no namespace"
    shared, own = shared_namespaces(inside, host)
    return f"shares {', '.join(shared) or 'no namespace'} with the host; own {', '.join(own) or 'none'}"


def calls(findings: Findings, subject: str) -> str:
    """System calls that answered when tried from inside, and whose kernel answered."""
    inside, host = findings.inside.get(subject, {}), findings.inside.get("host", {})
    answered, tried = number(inside, "syscalls-answered"), number(inside, "syscalls-tried")
    if answered is None or tried is None:
        return f"syscalls: {findings.reason(f'{subject}.inside')}"
    whose = "host" if inside.get("boot-id") == host.get("boot-id") else "guest"
    return f"{answered}/{tried} syscalls reach {whose}"


def monitor(findings: Findings) -> str:
    """What the process that emulates the machine may do on the host."""
    process = findings.monitor
    if process is None:
        return ""
    capabilities = process.capabilities.bit_count()
    shared = f", shares {', '.join(process.shared_namespaces)}" if process.shared_namespaces else ""
    return (
        f"QEMU: uid {process.uid}, {capabilities} capabilities, {'with' if process.seccomp else 'no'} seccomp, "
        f"{len(process.open_files)} kinds of open files{shared}"
    )


def privileges(inside: dict[str, str]) -> str:
    """The same of the process in the container."""
    mask = inside.get("capabilities", "").split()
    if not mask:
        return ""
    count = int(mask[0], 16).bit_count()
    seccomp = "with" if number(inside, "seccomp") == 2 else "no"
    return f"process: uid {inside.get('uid', '?')}, {count} capabilities, {seccomp} seccomp"


def resources_row(findings: Findings) -> Row:
    """Resources: what one more idle instance adds, in memory, on the disk and on the processor."""
    lines = [
        quantity_line(findings, "memory_bytes", "B", "RAM", "heavier"),
        quantity_line(findings, "kernel_bytes", "B", "kernel RAM"),
        quantity_line(findings, "disk_bytes", "B", "disk"),
        quantity_line(findings, "idle_percent", "%", "CPU, idle"),
    ]
    if findings.density:
        room = {side: density.told(findings.density.get(side)) for side in ("vm", "container")}
        lines.append(Line(Cell(room["vm"]), Cell(room["container"])))
    if findings.load:
        lines.append(Line(Cell(load.told(findings.load, "vm")), Cell(load.told(findings.load, "container"))))
    if findings.template_bytes:
        size = figures.quantity(findings.template_bytes, "B")
        lines.append(Line(Cell(f"{size} template for all VMs"), Cell("no template")))
    vm, container = (biggest(findings.parts.get(side, {})) for side in ("vm", "container"))
    if vm or container:
        lines.append(Line(Cell(vm), Cell(container)))
    return Row("Resources", tuple(lines))


def biggest(parts: dict[str, float]) -> str:
    """Where the memory of one instance is, largest first, pages shared with others counted in part."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])[:3]
    named = [f"{name} {figures.quantity(size, 'B')}" for name, size in ordered if size]
    return f"PSS: {', '.join(named)}" if named else ""


def portability_row(findings: Findings) -> Row:
    """Portability: what must be moved to run it elsewhere, and for which platforms it exists."""
    image = findings.image
    size = image.transfer_bytes or image.unpacked_bytes
    needs = size + findings.guest_kernel_bytes
    ratio = Ratio(needs / size, needs / size, needs / size, True, 0.0) if size and findings.guest_kernel_bytes else None
    moved = figures.quantity(size, "B") if size else "size unknown"
    guest = figures.quantity(findings.guest_kernel_bytes, "B") if findings.guest_kernel_bytes else "kernel not here yet"
    platforms = f"{', '.join(image.platforms) or 'platforms unknown'} ({image.platforms_source or 'not looked up'})"
    disk = number(findings.inside.get("machine", {}), "disk-bytes")
    there = {side: moving.told(findings.portability, side) for side in ("vm", "container")}
    ran = [bool(findings.inside.get(side)) for side in ("vm", "container")]
    portable: Holds = "not measured" if not all(ran) else "in part" if ratio else "not here"
    return Row(
        "Portability",
        (
            Line(
                Cell(f"image {moved} + guest kernel {guest}"),
                Cell(f"image {moved}"),
                ratio,
                claim="less portable",
                holds=portable,
                machine=Cell(f"disk {figures.quantity(disk, 'B')}" if disk else ""),
            ),
            Line(
                Cell(f"same image; {platforms} + QEMU"),
                Cell(platforms),
                note="one image, both" if all(ran) else "",
            ),
            Line(Cell(there["vm"]), Cell(there["container"])),
        ),
    )


def use_cases_row(findings: Findings, advice: Advice) -> Row:
    """Use cases: many copies at once, how many would fit, and what this workload should take."""
    lines = [
        quantity_line(findings, "copies_s", "s", f"{findings.copies} at once", "scale slower"),
        Line(Cell(only.told(findings.only, "vm")), Cell(only.told(findings.only, "container"))),
        Line(
            Cell("recommended" if advice.choice == "vm" else ""),
            Cell("recommended" if advice.choice == "container" else ""),
            note="neither is safe here" if advice.choice == "stop" else "",
        ),
    ]
    return Row("Use cases", tuple(lines))


BUILDERS: dict[str, Callable[[Findings], Row]] = {
    "OS": system_row,
    "Startup": startup_row,
    "Isolation": isolation_row,
    "Resources": resources_row,
    "Portability": portability_row,
}
