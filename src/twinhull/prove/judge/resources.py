"""Resources: heavy and light are ratios, between the sides and to a plain process of the host."""

from __future__ import annotations

from twinhull.compare import figures
from twinhull.prove.evidence import Evidence, Verdict
from twinhull.prove.judge.measures import A_MACHINE, CLOSE, heavy, more, times


def heavy_processor(evidence: Evidence) -> Verdict:
    """The same calculation, and what an idle instance uses."""
    working = evidence.ratio("vm.work_s", "host.work_s")
    idle = evidence.ratio("vm.idle_percent", "container.idle_percent")
    said = (
        f"The same calculation took {evidence.shown('vm.work_s', 's')} in a VM,"
        f" {evidence.shown('container.work_s', 's')} in a container and {evidence.shown('host.work_s', 's')} as a plain"
        f" process: a VM takes {times(working)} a plain process. Idle, a VM uses"
        f" {evidence.shown('vm.idle_percent', '%')} of a CPU, a container"
        f" {evidence.shown('container.idle_percent', '%')}."
    )
    if heavy(working):
        return Verdict("holds", said, "KVM, where a guest's instructions run on the processor itself")
    if more(working) or more(idle) or idle_only(evidence):
        return Verdict("in part", f"{said} Slower or busier, but not twice.", "no KVM: TCG translates each instruction")
    return Verdict("not here", f"{said} No difference that matters.", "no KVM: TCG translates each instruction")


def idle_only(evidence: Evidence) -> bool:
    """True if a VM is never idle while a container always is: a ratio to zero means nothing."""
    return evidence.middle("vm.idle_percent") > 0 and evidence.middle("container.idle_percent") == 0


def heavy_memory(evidence: Evidence) -> Verdict:
    """What one more idle instance adds to the host."""
    ratio = evidence.ratio("vm.memory_bytes", "container.memory_bytes")
    said = (
        f"One more idle VM took {evidence.shown('vm.memory_bytes', 'B')} of the host's memory, one more container"
        f" {evidence.shown('container.memory_bytes', 'B')}: what is its own, of every process that belongs to it."
    )
    if heavy(ratio):
        why = (
            f"{said} That is {times(ratio)} as much: a second kernel and an emulated machine are kept for one program."
        )
        return Verdict("holds", why, "a workload so large that the guest's own memory does not count")
    if more(ratio):
        return Verdict("in part", f"{said} More, but not twice.")
    return Verdict("not here", f"{said} No difference was shown.")


def heavy_storage(evidence: Evidence) -> Verdict:
    """What each VM takes, and what all of them need once."""
    each = evidence.ratio("vm.disk_bytes", "container.disk_bytes")
    once = evidence.total("vm.kernels_bytes") + evidence.total("vm.templates_bytes")
    image = evidence.total("image.bytes")
    said = (
        f"One more VM took {evidence.shown('vm.disk_bytes', 'B')} on the disk, one more container"
        f" {evidence.shown('container.disk_bytes', 'B')}; their image is {figures.quantity(image, 'B')} for both."
    )
    if heavy(each):
        return Verdict("holds", f"{said} That is {times(each)} as much.")
    shared = f"Once for all VMs, kernels and templates take {figures.quantity(once, 'B')}"
    if once > image:
        why = f"{said} {shared}: heavy once, not each."
        return Verdict("in part", why, f"{A_MACHINE} of its own for each")
    return Verdict("not here", f"{said} {shared}.")


def lightweight(evidence: Evidence) -> Verdict:
    """Light in memory beside a VM, and as fast as a plain process."""
    memory = evidence.ratio("vm.memory_bytes", "container.memory_bytes")
    work = evidence.ratio("container.work_s", "host.work_s")
    light, free = heavy(memory), not (more(work) and work.value > CLOSE)
    said = (
        f"An idle container took {evidence.shown('container.memory_bytes', 'B')} of memory,"
        f" {evidence.shown('container.disk_bytes', 'B')} of disk and {evidence.shown('container.idle_percent', '%')}"
        f" of a CPU; a VM takes {times(memory)} the memory. A calculation took"
        f" {evidence.shown('container.work_s', 's')} inside, {evidence.shown('host.work_s', 's')} as a plain process."
    )
    if light and free:
        return Verdict("holds", said, "a container that brings its own kernel, or a program that is heavy itself")
    if light or free:
        return Verdict("in part", f"{said} {'Light in memory only.' if light else 'Light on the processor only.'}")
    return Verdict("not here", said)
