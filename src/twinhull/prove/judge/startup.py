"""Startup: how long, compared with what, and why."""

from __future__ import annotations

from twinhull.compare import figures
from twinhull.prove.evidence import Evidence, Verdict
from twinhull.prove.judge.measures import A_MACHINE, MINUTES_S, SECONDS_S, more, times
from twinhull.prove.judge.systems import has_own_system

MOST = 0.5  # "because": the boot is at least half of the start


def slow_vm(evidence: Evidence) -> Verdict:
    """Slow is a comparison with a container; minutes are a number."""
    boot = evidence.middle("boot.start_s")
    ratio = evidence.ratio("boot.start_s", "container.start_s")
    slower = f"A boot to the end of its program took {evidence.shown('boot.start_s', 's')}"
    machine = evidence.total("machine.start_s")
    if max(boot, machine) >= MINUTES_S:
        whole = f" A machine's whole system answered after {machine:.0f} s." if machine else ""
        return Verdict("holds", f"{slower}.{whole} That is minutes.")
    if not more(ratio):
        return Verdict("not here", f"{slower}, {times(ratio)} as long as a container's start.")
    why = (
        f"{slower}, {times(ratio)} as long as a container: slow, yes. Minutes, no. From a saved guest, which does not"
        f" boot, it took {evidence.shown('vm.start_s', 's')}. {whole_system(machine)}"
    )
    return Verdict("in part", why, f"{A_MACHINE} that boots for a minute or more")


def whole_system(machine_s: float) -> str:
    """What a system with services takes, where one booted."""
    if machine_s:
        return f"A machine, with firmware and services, answered after {machine_s:.0f} s."
    return "A system with firmware and services takes longer than this kernel with one program."


def because_it_boots(evidence: Evidence) -> Verdict:
    """What remains of the start without the boot, and what booted."""
    boot, saved = evidence.middle("boot.start_s"), evidence.middle("vm.start_s")
    share = (boot - saved) / boot
    kernel = figures.quantity(evidence.middle("boot.uptime_s"), "s")
    said = (
        f"Of the {figures.quantity(boot, 's')} of a boot, {share:.0%} are gone when the same guest starts from saved"
        f" memory ({figures.quantity(saved, 's')}), and the guest's own clock stood at {kernel} when its program ran."
    )
    if share < MOST:
        return Verdict("not here", f"{said} Less than half of the time is the boot.")
    if has_own_system(evidence, "machine"):
        return Verdict("holds", f"{said} So it is the boot, and a machine boots a whole system.")
    why = (
        f"{said} So the boot is the reason. But what boots is a kernel and one program, no entire operating system,"
        f" and a start that skips the boot is still a virtual machine."
    )
    return Verdict("in part", why, A_MACHINE)


def fast_container(evidence: Evidence) -> Verdict:
    """Seconds are a number; fast is a comparison."""
    median = evidence.middle("container.start_s")
    said = f"A container ran its program and was gone after {evidence.shown('container.start_s', 's')}"
    if median >= SECONDS_S:
        return Verdict("not here", f"{said}, which is more than seconds.")
    faster = evidence.ratio("vm.start_s", "container.start_s")
    if not more(faster):
        return Verdict("in part", f"{said}: seconds, yes. Faster than a VM from its template, no.")
    uptime = figures.quantity(evidence.middle("container.uptime_s"), "s")
    why = (
        f"{said}: less than the textbook's seconds. Nothing boots, the kernel it found had been up for {uptime}."
        f" A VM takes {times(faster)} as long, one that boots"
        f" {times(evidence.ratio('boot.start_s', 'container.start_s'))}."
    )
    return Verdict("holds", why, "a program that itself takes long to begin: the engine's share is all that is fast")
