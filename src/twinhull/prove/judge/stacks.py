"""Stacks: the layers in their order, and whether a layer carries the one above."""

from __future__ import annotations

from twinhull.prove.evidence import Evidence, Verdict
from twinhull.prove.judge.measures import NO_KVM, ON_KVM, listed
from twinhull.prove.judge.systems import own_kernel

VM_STACK = ("Infrastructure", "Host OS", "Hypervisor", "Guest OS", "App")
CONTAINER_STACK = ("Infrastructure", "Host OS", "Engine", "App")
STANDS_STILL, GOES_ON = 0.1, 0.5  # shares of its work before that a program does while a layer is stopped


def levels(evidence: Evidence, side: str) -> tuple[str, ...]:
    """The layers that were found, the lowest first."""
    return tuple(evidence.facts[f"{side}.levels"].split("|"))


def kept_running(evidence: Evidence, side: str) -> float:
    """How much of the time a program was at work while the layer below was stopped, against the time before."""
    before = evidence.total(f"{side}.running")
    return evidence.total(f"{side}.stopped") / before if before else 0.0


def host_is_a_guest(evidence: Evidence) -> str:
    """A layer that no textbook draws."""
    below = evidence.facts["host.hypervisor"]
    return f" Below all of it is one more: this host is itself a guest of {below}." if below else ""


def vm_stack(evidence: Evidence) -> Verdict:
    """Five layers in their order, of which the hypervisor carries the guest."""
    found = levels(evidence, "vm")
    if found != VM_STACK:
        return Verdict("not here", f"The layers found are {listed(found)}.")
    kept = kept_running(evidence, "vm")
    said = (
        f"The running VM showed {listed(found)}, in this order. With the hypervisor's process stopped, the program"
        f" was at work (running, or ready to) {kept:.0%} as much as before"
    )
    if kept > STANDS_STILL or not own_kernel(evidence, "vm"):
        return Verdict("in part", f"{said}: it is drawn below, but does not carry it.")
    why = (
        f"{said}: everything above hangs on it.{host_is_a_guest(evidence)} The layer Guest OS is a kernel with one"
        " program here; a whole system is a machine's."
    )
    return Verdict("holds", why)


def hypervisor(evidence: Evidence) -> Verdict:
    """A monitor runs; whether it virtualises a processor or imitates one is another question."""
    facts = evidence.facts
    if not facts["vm.monitor"]:
        return Verdict("not here", "No monitor was found among the processes of the VM.")
    if facts["vm.accelerator"] == "kvm":
        why = (
            f"{facts['vm.monitor']} runs the guest with KVM: the host's kernel is the one half of the hypervisor, that"
            " process the other."
        )
        return Verdict("holds", why, NO_KVM)
    why = (
        f"{facts['vm.monitor']} is there and the guest sees a machine. But it emulates: under TCG it translates each"
        " instruction, where a hypervisor lets the guest run on the processor itself."
    )
    return Verdict("in part", why, ON_KVM)


def container_stack(evidence: Evidence) -> Verdict:
    """Four layers, of which the engine may stand beside and not below."""
    found = levels(evidence, "container")
    if found != CONTAINER_STACK or own_kernel(evidence, "container"):
        return Verdict("not here", f"The layers found are {listed(found)}.")
    kept = kept_running(evidence, "container")
    said = (
        f"The running container showed {listed(found)}. With the engine's process stopped, its program was at"
        f" work (running, or ready to) {kept:.0%} as much as before"
    )
    if kept >= GOES_ON:
        why = (
            f"{said}: the engine starts, watches and ends it, but stands beside the program. What carries it is the"
            f" host's kernel alone.{host_is_a_guest(evidence)}"
        )
        return Verdict("in part", why, "an engine between program and kernel, as gVisor is")
    return Verdict("holds", f"{said}: the engine carries it.{host_is_a_guest(evidence)}")


def engine_manages(evidence: Evidence) -> Verdict:
    """Each verb tried."""
    verbs = {key.removeprefix("managed."): said for key, said in evidence.facts.items() if key.startswith("managed.")}
    worked = [verb for verb, said in verbs.items() if said == "yes"]
    failed = [verb for verb, said in verbs.items() if said != "yes"]
    if not worked:
        return Verdict("not here", f"The engine could do none of {listed(failed)}.")
    if failed:
        return Verdict("in part", f"The engine could {listed(worked)}, but not {listed(failed)}.")
    stays = listed(evidence.words("container.host-processes"))
    why = (
        f"The engine could {listed(worked)} a container. What stays of it while the container runs is {stays}: no"
        " daemon, and the kernel does the rest."
    )
    return Verdict("holds", why, "a container made by hand: unshare and chroot need no engine")


def no_hypervisor(evidence: Evidence) -> Verdict:
    """No monitor of ours; perhaps one below the host."""
    facts = evidence.facts
    monitors = [name for name in evidence.words("container.host-processes") if name.startswith(("qemu", "firecracker"))]
    if monitors or own_kernel(evidence, "container"):
        return Verdict("not here", f"Under the container runs {listed(monitors) or 'another kernel'}.")
    said = (
        f"The container is {listed(evidence.words('container.host-processes'))} on the kernel of the host; there is"
        " no monitor among them, and the kernel inside is of the host's boot."
    )
    if facts["host.hypervisor"]:
        why = f"{said} But this host is a guest of {facts['host.hypervisor']}: a hypervisor is below all of it, unseen."
        return Verdict("in part", why, "bare metal")
    return Verdict("holds", f"{said} None was seen below the host either.", "a cloud: its hosts are mostly guests")
