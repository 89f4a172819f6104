"""Operating systems: how many kernels run, whose they are, and whether a system runs on them."""

from __future__ import annotations

from twinhull.prove.evidence import Evidence, Verdict
from twinhull.prove.judge.measures import A_MACHINE, listed

INITS = ("systemd", "init", "openrc-init", "runit", "s6-svscan", "launchd")


def has_own_system(evidence: Evidence, side: str) -> bool:
    """A full operating system: a kernel that is not the host's, and an init of a system as process 1."""
    return own_kernel(evidence, side) and evidence.facts.get(f"{side}.init") in INITS


def own_kernel(evidence: Evidence, side: str) -> bool:
    """Another boot is another kernel, whatever its release; a machine's agent answers from a QEMU of its own."""
    boot = evidence.facts.get(f"{side}.boot-id")
    if boot:
        return boot != evidence.facts["host.boot-id"]
    return evidence.facts.get(f"{side}.monitor", "0") != "0" and bool(evidence.facts.get(f"{side}.release"))


def identity(evidence: Evidence, side: str) -> str:
    """What tells one running kernel from another: its boot, or the process that runs its machine."""
    boot = evidence.facts.get(f"{side}.boot-id", "")
    return f"boot {boot[:8]}" if boot else f"QEMU {evidence.facts[f'{side}.monitor']}"


def several_systems(evidence: Evidence) -> Verdict:
    """Two guests at once, besides the host."""
    facts = evidence.facts
    at_once = ("vm", "machine", "machine2") if own_kernel(evidence, "machine2") else ("vm", "vm2")
    guests = [side for side in at_once if own_kernel(evidence, side)]
    boots = {identity(evidence, side) for side in guests}
    full = [side for side in guests if has_own_system(evidence, side)]
    if len(boots) < 2:
        why = f"{len(boots)} kernel(s) besides the host's ran at once; two guests should have brought two."
        return Verdict("not here", why)
    kernels = f"At the same time ran the host's kernel {facts['host.release']} and {len(boots)} guests' kernels"
    releases = ", ".join(dict.fromkeys(facts[f"{side}.release"] for side in guests))
    said = f"{kernels} ({releases}), each its own: {boots_of(evidence, ['host', *guests])}."
    if len(full) >= 2:
        inits = listed([f"{facts[f'{side}.init']} with {facts[f'{side}.processes']} processes" for side in full])
        return Verdict("holds", f"{said} {len(full)} of the guests run a whole system: {inits}.")
    return Verdict(
        "in part",
        f"{said} Kernels, yes; full systems, no: the first process a guest of an image shows is its program"
        f" ({facts['vm.init']}), and no init or service runs beside it. {untried(evidence)}",
        f"{A_MACHINE}, twice",
    )


def boots_of(evidence: Evidence, sides: list[str]) -> str:
    """What tells the kernels of these sides apart."""
    return ", ".join(f"{identity(evidence, side)} ({side})" for side in sides)


def untried(evidence: Evidence) -> str:
    """Why no machine took part."""
    why = evidence.facts.get("machine.why-not")
    return f"Not tried: a machine with a full guest OS ({why})." if why else ""


def full_guest(evidence: Evidence) -> Verdict:
    """A VM holds a kernel, and perhaps a system on it."""
    facts = evidence.facts
    if not own_kernel(evidence, "vm"):
        return Verdict("not here", f"The guest answers with the boot of the host, {facts['host.boot-id'][:8]}.")
    if has_own_system(evidence, "machine"):
        why = (
            f"A machine runs Linux {facts['machine.release']} with {facts['machine.init']} as its first process and"
            f" {facts['machine.processes']} processes. A VM of an image has less: its kernel {facts['vm.release']}"
            f" runs {facts['vm.init']} and no services."
        )
        return Verdict("holds", why)
    if has_own_system(evidence, "vm"):
        return Verdict("holds", f"Inside runs {facts['vm.init']} on Linux {facts['vm.release']}, a system of its own.")
    why = (
        f"The guest has a kernel of its own ({facts['vm.release']}, the host's is {facts['host.release']}), but no"
        f" system on it: {facts['vm.processes']} process is there to be seen, {facts['vm.init']}, the image's program."
        f" What the textbook draws is a machine that boots from a disk. {untried(evidence)}"
    )
    return Verdict("in part", why, A_MACHINE)


def shared_kernel(evidence: Evidence) -> Verdict:
    """One boot identity inside and outside is one kernel."""
    facts = evidence.facts
    if own_kernel(evidence, "container"):
        why = f"The kernel inside is of another boot ({boots_of(evidence, ['host', 'container'])}): it is not shared."
        return Verdict("not here", why)
    why = (
        f"Inside and outside, one boot answers: {facts['host.boot-id']}, Linux {facts['host.release']}."
        f" Two kernels of one release would differ in it. So a flaw in this kernel is a flaw of every container,"
        f" and a container can have no other kernel, module or version."
    )
    return Verdict("holds", why, "a runtime that gives each container a kernel: --vm")
