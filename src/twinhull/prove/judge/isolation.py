"""Isolation: what is apart, and who promises it. A guest under TCG is never called a wall."""

from __future__ import annotations

from twinhull.prove.evidence import Evidence, Verdict
from twinhull.prove.judge.measures import NO_KVM, ON_KVM, listed
from twinhull.prove.judge.systems import INITS, own_kernel

OWN = ("ipc", "mnt", "net", "pid", "uts")  # what a container is given by default
SHOWN = {"boot-id": "boot", "release": "kernel release", "memory": "memory size", "booted": "time of boot"}


def own_namespaces(evidence: Evidence, side: str) -> tuple[list[str], list[str]]:
    """Return the kinds that are its own and those that are the host's."""
    host = dict(word.split(":") for word in evidence.words("host.namespaces"))
    inside = dict(word.split(":") for word in evidence.words(f"{side}.namespaces"))
    return [kind for kind in inside if inside[kind] != host.get(kind)], [
        kind for kind in inside if inside[kind] == host.get(kind)
    ]


def seen_of_host(evidence: Evidence, side: str) -> list[str]:
    """What a program inside learns of the host: answers that are the host's own."""
    facts = evidence.facts
    return [text for name, text in SHOWN.items() if facts[f"{side}.{name}"] == facts[f"host.{name}"]]


def jail(evidence: Evidence) -> str:
    """What the monitor's process may do on the host."""
    facts = evidence.facts
    return (
        f"the process {facts['vm.monitor']} runs as uid {facts['vm.monitor-uid']} with"
        f" {facts['vm.monitor-capabilities']} capabilities,"
        f" {'with' if facts['vm.monitor-seccomp'] == 'yes' else 'without'} a system call filter"
    )


def no_wall(evidence: Evidence) -> str:
    """Why nobody promises the guest's wall here."""
    reason = evidence.facts.get("vm.accelerator-reason")
    return (
        "KVM is not in use"
        f"{f' ({reason})' if reason else ''}, so every instruction of the guest is translated by an ordinary process"
        " (TCG), which QEMU's own security policy does not count as a boundary"
    )


def without_full_system(evidence: Evidence) -> Verdict:
    """Apart, on the host's kernel, and with nothing but the program inside."""
    facts = evidence.facts
    own, shared = own_namespaces(evidence, "container")
    missing = [kind for kind in OWN if kind not in own]
    if own_kernel(evidence, "container") or facts["container.init"] in INITS:
        return Verdict(
            "not here", f"Inside runs a system of its own: {facts['container.init']}, another kernel or init."
        )
    if not own:
        return Verdict("not here", "It has no namespace of its own: nothing is isolated.")
    said = (
        f"It has its own {listed(own)} namespaces on the host's kernel, and its process 1 is the program itself"
        f" ({facts['container.init']}); {facts['container.processes']} process is to be seen inside."
    )
    if missing:
        return Verdict("in part", f"{said} It shares the host's {listed(missing)}.", "no --network host")
    rest = f" Shared with the host: {listed(shared)}." if shared else ""
    return Verdict("holds", f"{said} No system was started for that.{rest}")


def strong_vm(evidence: Evidence) -> Verdict:
    """A kernel of its own behind a wall that somebody promises."""
    facts = evidence.facts
    if not own_kernel(evidence, "vm"):
        return Verdict("not here", "The guest has no kernel of its own.")
    kernel = f"The guest's system calls end in its own kernel ({facts['vm.release']})"
    if facts["vm.accelerator"] == "kvm":
        why = (
            f"{kernel}, and the processor keeps it apart (KVM). What is left to attack is KVM, and the devices that"
            f" QEMU imitates: {jail(evidence)}."
        )
        return Verdict("holds", why, NO_KVM)
    why = (
        f"{kernel}, but that is no wall here: {no_wall(evidence)}. The walls that remain are those of a container:"
        f" {jail(evidence)}."
    )
    return Verdict("not here", why, ON_KVM)


def process_level(evidence: Evidence) -> Verdict:
    """One process with a number inside and another outside, in namespaces of one kernel."""
    facts = evidence.facts
    numbers = evidence.words("container.numbers")
    own, _ = own_namespaces(evidence, "container")
    if len(numbers) < 2 or own_kernel(evidence, "container"):
        why = "The host's list of processes has no process of the container under a number of its own."
        return Verdict("not here", why, "a container in the host's pid namespace, or with a kernel of its own")
    missing = [kind for kind in OWN if kind not in own]
    said = (
        f"{facts['container.program']} is process {numbers[-1]} inside and process {numbers[0]} of the host:"
        f" one process of one kernel with two names. The walls are that kernel's namespaces ({listed(own)})"
    )
    if missing:
        return Verdict("in part", f"{said}, without {listed(missing)}.")
    why = (
        f"{said}, its capabilities and its system call filter. Of a virtual machine the host lists"
        f" {listed(evidence.words('vm.host-processes'))} and no program of the guest."
    )
    return Verdict("holds", why)


def full_isolation(evidence: Evidence) -> Verdict:
    """Nothing of the host is to be seen, and the wall is promised."""
    seen, container = seen_of_host(evidence, "vm"), seen_of_host(evidence, "container")
    hidden = (
        f"Inside the VM {listed(seen) if seen else 'nothing'} of the host is to be seen; a container sees its"
        f" {listed(container) if container else 'nothing'}."
    )
    if evidence.facts["vm.accelerator"] != "kvm":
        why = f"{hidden} That is separation, not full isolation: {no_wall(evidence)}. Do not run hostile code in it."
        return Verdict("not here", why, ON_KVM)
    if seen:
        return Verdict("in part", f"{hidden} The wall is KVM's.", "a guest that sees nothing of the host")
    why = f"{hidden} The wall is promised by KVM and the processor, so this is what a VM is for."
    return Verdict("holds", why, NO_KVM)
