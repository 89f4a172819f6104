"""Portability: whether the same file runs somewhere else, and what else has to go there."""

from __future__ import annotations

from twinhull.compare import figures
from twinhull.prove.evidence import Evidence, Verdict
from twinhull.prove.judge.measures import listed

PREFIX = "engine."


def limited_vm(evidence: Evidence) -> Verdict:
    """The same image ran as a VM elsewhere, or it did not; what had to come along is the limit."""
    facts = evidence.facts
    if facts["vm.moved"] != "yes":
        return Verdict("holds", f"In a second place the same image did not run as a VM: {facts['vm.complaint']}.")
    image, kernel = evidence.total("image.moved_bytes"), evidence.total("vm.moved_bytes")
    said = (
        f"The same file of {figures.quantity(image, 'B')} ran as a VM in a second place,"
        f" {evidence.shown('vm.moved_s', 's')} after the command"
    )
    if not kernel:
        return Verdict("not here", f"{said}, and nothing else had to go there.")
    why = (
        f"{said}, so it is portable. But a guest's kernel had to go there too ({figures.quantity(kernel, 'B')},"
        f" {figures.factor(kernel / image)} times the image), and the place must have QEMU and, for speed and a wall,"
        f" KVM. The processor must be {facts['image.platform'].partition('/')[2]}, or be emulated."
    )
    return Verdict("in part", why, "an image that carries its kernel, or a place without QEMU")


def portable_container(evidence: Evidence) -> Verdict:
    """The same image ran in a fresh place, and in every other engine that could be asked."""
    facts = evidence.facts
    if facts["container.moved"] != "yes":
        return Verdict("not here", f"In a second place the image did not run: {facts['container.complaint']}.")
    engines = {key.removeprefix(PREFIX): said for key, said in facts.items() if key.startswith(PREFIX)}
    worked = [name for name, said in engines.items() if said == "yes"]
    failed = [f"{name} ({said})" for name, said in engines.items() if said.startswith("no:")]
    absent = [f"{name}: {said}" for name, said in engines.items() if name not in worked and not said.startswith("no:")]
    said = (
        f"A file of {figures.quantity(evidence.total('image.moved_bytes'), 'B')} was loaded in"
        f" {evidence.shown('image.load_s', 's')} where nothing of it was known and ran there as a container"
    )
    limits = (
        f"Its limit is the platform: it runs on a kernel and processor of {facts['image.platform']} only."
        f"{f' Not tried: {listed(absent)}.' if absent else ''}"
    )
    if failed:
        return Verdict("in part", f"{said}, but not in {listed(failed)}. {limits}", "engines that agree on the image")
    if not worked:
        why = f"{said}. No other engine could be asked, so it is shown for twinhull only. {limits}"
        return Verdict("in part", why, "another engine on this machine: apt-get install podman")
    return Verdict("holds", f"{said}, and in {listed(worked)} as well. {limits}", "another processor or kernel")
