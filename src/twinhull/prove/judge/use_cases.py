"""Use cases: what a side is said to be for, tried with small examples of it."""

from __future__ import annotations

from twinhull.prove.evidence import Evidence, Verdict
from twinhull.prove.judge.measures import NO_KVM, heavy, listed, more, times
from twinhull.prove.judge.systems import own_kernel

NEEDS = {
    "environment": "configuration from the environment",
    "port": "a port published on the host",
    "log": "a log that is a stream",
    "disposable": "a quick end when asked",
    "same-image": "copies that start from the same image",
    "healing": "being started again after a death",
}
NUMBERS = {2: "two", 3: "three"}
COPIES = 10  # as many as are started at once
COLLAPSE = 1.5  # scalable: many at once take no more than this times as long as one after the other


def several_types(evidence: Evidence) -> Verdict:
    """Kernels of another kind beside the host's."""
    facts = evidence.facts
    guests = [side for side in ("vm", "machine") if own_kernel(evidence, side)]
    if not guests:
        return Verdict("not here", "No guest has a kernel of its own, so there is one type only: the host's.")
    kinds = {facts[f"{side}.kernel"] for side in ("host", *guests)}
    seen = list(dict.fromkeys(f"{facts[f'{side}.kernel']} {facts[f'{side}.release']}" for side in ("host", *guests)))
    releases = listed(seen)
    container = f"A container can only have the host's: it answered {facts['container.release']}."
    if len(kinds) > 1:
        return Verdict("holds", f"At once ran {releases}. {container}")
    if any(facts[f"{side}.release"] != facts["host.release"] for side in guests):
        why = (
            f"At once ran {releases}: {NUMBERS[len(seen)]} versions of one type. {container} Windows, BSD or another"
            " architecture were not tried: none is here, and this check fetches no system."
        )
        return Verdict("in part", why, "a guest that is no Linux")
    why = f"The guest runs the release of the host, {facts['host.release']}: two kernels, but of one type."
    return Verdict("not here", why, "vm_kernel in the configuration, with another kernel")


def light_fast_scalable(evidence: Evidence) -> Verdict:
    """Ten at once, and what each of them takes."""
    wanted = str(COPIES)
    answered, rival = evidence.facts["container.copies-answered"], evidence.facts["vm.copies-answered"]
    if answered != wanted:
        return Verdict("not here", f"Of {wanted} containers that were started at once only {answered} answered.")
    time = evidence.ratio("vm.copies_s", "container.copies_s")
    memory = evidence.ratio("vm.memory_bytes", "container.memory_bytes")
    alone = evidence.middle("container.copies_s") / evidence.middle("container.start_s")
    said = (
        f"{wanted} containers at once had all answered and ended after {evidence.shown('container.copies_s', 's')},"
        f" {alone:.1f} times what one takes alone; {rival} of {wanted} VMs took {evidence.shown('vm.copies_s', 's')},"
        f" {times(time)} as long. One more container takes {evidence.shown('container.memory_bytes', 'B')},"
        f" a VM {evidence.shown('vm.memory_bytes', 'B')}."
    )
    true = {"light": heavy(memory), "fast": more(time), "scalable": alone < COLLAPSE * COPIES}
    missing = [name for name, yes in true.items() if not yes]
    if not missing:
        return Verdict("holds", said, "programs that are heavy themselves, or a host with one slow processor")
    if len(missing) == len(true):
        return Verdict("not here", said)
    return Verdict("in part", f"{said} Not shown: {listed(missing)}.")


def cloud_native(evidence: Evidence) -> Verdict:
    """Each need tried."""
    met = [text for name, text in NEEDS.items() if evidence.facts[f"cloud.{name}"] == "yes"]
    unmet = [text for name, text in NEEDS.items() if evidence.facts[f"cloud.{name}"] != "yes"]
    said = f"Of {len(NEEDS)} things that cloud-native applications ask of what runs them, {len(met)} worked"
    if not met:
        return Verdict("not here", f"{said}.")
    if not unmet:
        return Verdict(
            "holds", f"{said}: {listed(met)}. Most of this comes from the image and the engine, not the wall."
        )
    why = (
        f"{said}: {listed(met)}. What did not: {listed(unmet)}; the textbook leaves that to an orchestrator."
        " All of this comes from the image and the engine: a VM of the same image gets it too."
    )
    return Verdict("in part", why, "an orchestrator above")


def microservices(evidence: Evidence) -> Verdict:
    """Three services that find each other, one of which is replaced."""
    facts = evidence.facts
    if facts["container.chain"] != "yes":
        return Verdict("not here", "Three services as containers did not find each other by name.")
    said = (
        f"Three services found each other by name and answered {evidence.shown('container.chain_s', 's')} after the"
        " first was started"
    )
    if facts["container.replaced"] != "yes":
        return Verdict("in part", f"{said}, but one of them could not be replaced while the others stayed.")
    replaced = (
        f"{said}; one was removed, and its successor served the others {evidence.shown('container.replaced_s', 's')}"
        " after it was started."
    )
    vm = evidence.total("vm.chain_s") / evidence.total("container.chain_s")
    if facts["vm.chain"] != "yes":
        return Verdict("holds", f"{replaced} As virtual machines the same three did not answer.")
    rival = f"The same three as virtual machines answered too, after {evidence.shown('vm.chain_s', 's')}"
    if vm < 1:
        return Verdict("in part", f"{replaced} {rival}, sooner than the containers.", NO_KVM)
    why = f"{replaced} {rival}: possible, at {vm:.1f} times the wait and the memory of three kernels."
    return Verdict("holds", why, "services that must not share a kernel")
