"""The six rows of the comparison, each cell a measurement or an observed fact of this run.

Promise: a cell without a figure says why; a claim is judged only by what stands in its line.
"""

from __future__ import annotations

from twinhull.advice.advise import Advice
from twinhull.compare import density, escapes, figures, load, only, probe, processors
from twinhull.compare import portability as moving
from twinhull.compare.findings import Findings, Monitor, number, shared_namespaces
from twinhull.compare.startup_row import startup_row
from twinhull.compare.statistics import Ratio
from twinhull.compare.table import COLUMNS, Line, Row, fact_line, quantity_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.compare.table import Holds

TOPICS = ("OS", "Startup", "Isolation", "Resources", "Portability", "Use cases")


def system_row(findings: Findings) -> Row:
    """OS: which kernel answers inside, and how much of the machine it shows."""
    vm, container, full, host = (findings.inside.get(name, {}) for name in ("vm", "container", "machine", "host"))
    sides = {"vm": vm, "container": container, "machine": full}

    def line(label: str, told: Callable[[dict[str, str]], str], key: str = "inside") -> Line:
        return fact_line(findings, label, key, {side: told(inside) for side, inside in sides.items()})

    kernels = line("kernel", lambda inside: kernel(inside, host))
    holds = own_system(full or vm, host)
    kernels = kernels._replace(note=kernel_note(vm, container), claim="full OS", holds=holds)
    if not vm and not container:
        return Row("OS", (kernels,))
    return Row(
        "OS",
        (
            kernels,
            line("sees", sees),
            line("process 1", lambda inside: first_process(inside, agent=inside is vm)),
            line("kinds of programs", escapes.runs, "probes"),
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


def first_process(inside: dict[str, str], *, agent: bool = False) -> str:
    """Who is process 1 inside, and how many processes there are; the workload here is the probe.

    Args:
        agent: the guest's own first process, which cannot be seen from inside, is our agent.
    """
    first, count = inside.get("process-1", ""), number(inside, "processes")
    if not first or count is None:
        return ""
    who = "the workload, no init" if first == probe.PROBE else first
    who += " (the guest's is the agent)" if agent and first == probe.PROBE else ""
    running = services(inside)
    return f"process 1 is {who}; {count} process{'es' * (count != 1)}{f'; {running}' if running else ''}"


def services(inside: dict[str, str]) -> str:
    """The system on the kernel, and how much of it runs without being asked."""
    count = number(inside, "services")
    return f"{inside.get('system', 'a system')}, {count} services run" if count else ""


def isolation_row(findings: Findings) -> Row:
    """Isolation: who promises the wall, what is shared, which kernel's system calls can be reached."""
    container = findings.inside.get("container", {})
    promised = {side: promise(findings) for side in ("vm", "machine")}
    promised["container"] = "promised by host's kernel" if container else ""
    monitors = {"vm": monitor(findings.monitor), "machine": monitor(findings.machine_monitor)}
    lines = [
        fact_line(findings, "the wall", "inside", promised, claim="stronger", holds=wall(findings.accelerator)),
        fact_line(findings, "namespaces", "inside", {side: namespaces(findings, side) for side in COLUMNS}),
        fact_line(findings, "syscalls", "calls", {side: calls(findings, side) for side in COLUMNS}),
        fact_line(findings, "process", "monitor", {**monitors, "container": privileges(container)}),
    ]
    if findings.probes:
        known = {side: escapes.told(findings.probes, side) for side in COLUMNS}
        lines.append(fact_line(findings, "known ways out", "probes", known))
    return Row("Isolation", tuple(lines))


def wall(accelerator: str) -> Holds:
    """Whether the VM is the stronger wall."""
    return "holds" if accelerator == "kvm" else "not here" if accelerator == "tcg" else "not measured"


def promise(findings: Findings) -> str:
    """Who answers for the wall around the guest; "" while no guest has run."""
    promises = {"kvm": "promised by KVM and the processor", "tcg": "promised by nobody (TCG)"}
    return promises.get(findings.accelerator, "")


def namespaces(findings: Findings, subject: str) -> str:
    """Namespaces in common with the host, by their inode numbers; "" where nobody looked."""
    inside, host = findings.inside.get(subject), findings.inside.get("host", {})
    if not inside:
        return ""
    if inside.get("boot-id") != host.get("boot-id"):
        return "shares no namespace"
    shared, own = shared_namespaces(inside, host)
    return f"shares {', '.join(shared) or 'no namespace'} with the host; own {', '.join(own) or 'none'}"


def calls(findings: Findings, subject: str) -> str:
    """System calls that answered when tried from inside, and whose kernel answered; "" where none was tried."""
    inside, host = findings.inside.get(subject, {}), findings.inside.get("host", {})
    answered, tried = number(inside, "syscalls-answered"), number(inside, "syscalls-tried")
    if answered is None or tried is None:
        return ""
    whose = "host" if inside.get("boot-id") == host.get("boot-id") else "guest"
    return f"{answered}/{tried} syscalls reach {whose}"


def monitor(process: Monitor | None) -> str:
    """What the process that emulates the machine may do on the host; "" where none was looked at."""
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
        room = {side: density.told(findings.density.get(side)) for side in COLUMNS}
        lines.append(fact_line(findings, "how many fit", "density", room))
    if findings.load:
        lines.append(
            fact_line(findings, "under load", "load", {side: load.told(findings.load, side) for side in COLUMNS})
        )
    if findings.template_bytes:
        size = figures.quantity(findings.template_bytes, "B")
        none = dict.fromkeys(("container", "machine"), "no template")
        lines.append(fact_line(findings, "template", "inside", {"vm": f"{size} template for all VMs", **none}))
    if findings.parts:
        weighed = {side: biggest(findings.parts.get(side, {}), instances(findings, side)) for side in COLUMNS}
        lines.append(fact_line(findings, "PSS", "memory_bytes", weighed))
    return Row("Resources", tuple(lines))


def instances(findings: Findings, side: str) -> int:
    """How many instances ran when their memory was weighed."""
    return len(findings.density.get(side, {}).get("points", ())) or 1


def biggest(parts: dict[str, float], running: int) -> str:
    """Where the memory of one instance is, largest first, pages shared with others counted in part."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])[:3]
    named = [f"{name} {figures.quantity(size, 'B')}" for name, size in ordered if size]
    which = f"PSS of one of {running}" if running > 1 else "PSS"
    return f"{which}: {', '.join(named)}" if named else ""


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
    there = {side: moving.told(findings.portability, side) for side in COLUMNS}
    ran = [bool(findings.inside.get(side)) for side in ("vm", "container")]
    portable: Holds = "not measured" if not all(ran) else "in part" if ratio else "not here"
    needed = {
        "vm": f"image {moved} + guest kernel {guest}",
        "container": f"image {moved}",
        "machine": f"disk {figures.quantity(disk, 'B')}" if disk else "",
    }
    lines = [
        fact_line(findings, "to move", "disk_bytes", needed, claim="less portable", holds=portable)._replace(
            ratio=ratio
        ),
        fact_line(
            findings,
            "platforms",
            "inside",
            {
                "vm": f"same image; {platforms} + QEMU",
                "container": platforms,
                "machine": f"its disk, for {findings.inside.get('machine', {}).get('architecture', '')} + QEMU",
            },
            note="one image, both" if all(ran) else "",
        ),
    ]
    if any(there.values()):
        lines.append(fact_line(findings, "moved", "portability", there))
    tried = findings.portability.get("processors", [])
    others = {side: processors.told(tried, side) for side in ("vm", "container")}
    if any(others.values()):
        others["machine"] = "its disk is for one processor"
        lines.append(fact_line(findings, "other processors", "portability", others))
    return Row("Portability", tuple(lines))


def use_cases_row(findings: Findings, advice: Advice) -> Row:
    """Use cases: many copies at once, how many would fit, and what this workload should take."""
    chosen = {side: "recommended" if advice.choice == side else "not recommended here" for side in COLUMNS}
    lines = [quantity_line(findings, "copies_s", "s", f"{findings.copies} at once", "scale slower")]
    if findings.only:
        alone = {side: only.told(findings.only, side) for side in COLUMNS}
        lines.append(fact_line(findings, "what it alone can do", "only", alone))
    note = "neither is safe here" if advice.choice == "stop" else ""
    lines.append(fact_line(findings, "recommended", "inside", chosen, note=note))
    return Row("Use cases", tuple(lines))


BUILDERS: dict[str, Callable[[Findings], Row]] = {
    "OS": system_row,
    "Startup": startup_row,
    "Isolation": isolation_row,
    "Resources": resources_row,
    "Portability": portability_row,
}
