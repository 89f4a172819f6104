"""One test a sentence: what was observed here is judged as it must be, and other evidence is judged otherwise.

Where evidence of the other sort can be had on this machine it is real: the other isolation's under this one's name,
a program slowed on purpose, a container that was given less. What this machine cannot show is written down.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.claims.conftest import Found
from twinhull.prove.claims import CLAIMS
from twinhull.prove.evidence import TOPICS, Evidence, has_figures_of_a_guest, judged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
MACHINE = {"kernel": "Linux", "release": "6.1.0-31-cloud-amd64", "init": "systemd", "processes": "61"}
KVM = {"vm.accelerator": "kvm", "vm.accelerator-reason": ""}
TCG = {"vm.accelerator": "tcg", "vm.accelerator-reason": "a guest did not run under KVM"}


def real(found: Found, number: int) -> Evidence:
    """The evidence of a claim, which was observed without a gap."""
    evidence = found.checks[number].evidence
    assert not evidence.gap, evidence.gap
    return evidence


def verdict(number: int, evidence: Evidence) -> str:
    """How a claim is judged on evidence; every verdict explains itself."""
    answer = judged(CLAIMS[number - 1], evidence)
    assert len(answer.why) > 20
    return answer.holds


def with_facts(evidence: Evidence, facts: Mapping[str, str]) -> Evidence:
    """The same with some facts changed."""
    return evidence._replace(facts={**evidence.facts, **facts})


def with_samples(evidence: Evidence, **samples: tuple[float, ...]) -> Evidence:
    """The same with some samples changed; a name's first underscore stands for a dot."""
    changed = {key.replace("_", ".", 1): values for key, values in samples.items()}
    return evidence._replace(samples={**evidence.samples, **changed})


def under_the_name_of(evidence: Evidence, other: str, side: str) -> Evidence:
    """What was observed of one side, taken for the other's."""
    facts = {
        f"{side}.{key.partition('.')[2]}": value for key, value in evidence.facts.items() if key.startswith(f"{other}.")
    }
    samples = {
        f"{side}.{key.partition('.')[2]}": values
        for key, values in evidence.samples.items()
        if key.startswith(f"{other}.")
    }
    return evidence._replace(facts={**evidence.facts, **facts}, samples={**evidence.samples, **samples})


def machines(*names: str, **changes: str) -> dict[str, str]:
    """Facts of machines with a whole system each."""
    facts = {f"{name}.{key}": value for name in names for key, value in {**MACHINE, **changes}.items()}
    return {**facts, **{f"{name}.monitor": str(number) for number, name in enumerate(names, 4711)}}


# --- operating systems


def test_several_operating_systems_run_at_once(found: Found) -> None:
    evidence = real(found, 1)
    boots = {evidence.facts[f"{name}.boot-id"] for name in ("host", "vm", "vm2")}
    assert len(boots) == 3
    assert evidence.facts["host.boot-id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    assert verdict(1, with_facts(evidence, machines("machine", "machine2"))) == "holds"
    assert verdict(1, evidence) == ("holds" if "machine2.init" in evidence.facts else "in part")
    assert verdict(1, under_the_name_of(evidence, "host", "vm2")) == "not here"


def test_a_virtual_machine_contains_a_full_guest_operating_system(found: Found) -> None:
    evidence = real(found, 2)
    assert evidence.facts["vm.release"] != evidence.facts["host.release"] or evidence.facts["vm.init"] == "sleep"

    assert verdict(2, with_facts(evidence, machines("machine"))) == "holds"
    assert verdict(2, with_facts(evidence, machines("machine", init="sh"))) == "in part"
    assert verdict(2, under_the_name_of(evidence, "host", "vm")) == "not here"


def test_containers_share_the_kernel_of_their_host(found: Found) -> None:
    evidence = real(found, 3)
    assert evidence.facts["container.release"] == os.uname().release

    assert verdict(3, evidence) == "holds"
    assert verdict(3, under_the_name_of(with_facts(evidence, real(found, 1).facts), "vm", "container")) == "not here"


# --- startup


def test_a_virtual_machine_starts_slowly_in_minutes(found: Found) -> None:
    evidence = real(found, 4)
    assert evidence.middle("boot.start_s") > evidence.middle("vm.start_s") > evidence.middle("container.start_s")
    assert evidence.middle("boot.start_s") > evidence.middle("boot.uptime_s") > 0

    assert verdict(4, with_samples(evidence, boot_start_s=(75.0, 80.0))) == "holds"
    assert verdict(4, with_samples(evidence, machine_start_s=(75.0,))) == "holds"
    assert verdict(4, under_the_name_of(evidence, "container", "boot")) == "not here"
    if evidence.middle("boot.start_s") < 60 and "machine.start_s" not in evidence.samples:
        assert verdict(4, evidence) == "in part"


def test_it_starts_slowly_because_an_operating_system_boots(found: Found) -> None:
    evidence = real(found, 5)
    assert verdict(5, evidence) in ("in part", "holds")
    assert verdict(5, with_facts(evidence, machines("machine"))) == "holds"
    # A start that skips the boot and takes as long all the same: the boot is not the reason.
    assert verdict(5, under_the_name_of(evidence, "boot", "vm")) == "not here"


def test_a_container_starts_in_seconds(found: Found) -> None:
    evidence = real(found, 6)
    assert verdict(6, evidence) == "holds"
    assert evidence.middle("container.uptime_s") > 10 * evidence.middle("boot.uptime_s") or os.path.exists("/proc/1")

    assert found.slowed.middle("container.start_s") > 2
    assert verdict(6, found.slowed) == "in part"
    assert verdict(6, with_samples(evidence, container_start_s=(12.0, 13.0))) == "not here"


# --- isolation


def test_a_virtual_machine_is_strongly_isolated(found: Found) -> None:
    evidence = real(found, 7)
    assert evidence.facts["vm.accelerator"] in ("kvm", "tcg")
    assert evidence.facts["vm.monitor-capabilities"] == "0"

    assert verdict(7, with_facts(evidence, KVM)) == "holds"
    assert verdict(7, with_facts(evidence, TCG)) == "not here"
    assert verdict(7, under_the_name_of(with_facts(evidence, KVM), "host", "vm")) == "not here"


def test_a_container_isolates_without_a_full_operating_system(found: Found) -> None:
    evidence = real(found, 8)
    assert verdict(8, evidence) == "holds"
    kinds = [word.partition(":")[0] for word in evidence.words("host.namespaces")]
    assert set(kinds) == set(os.listdir("/proc/self/ns")) - {"pid_for_children", "time_for_children"}
    common = set(evidence.words("host.namespaces")) & set(evidence.words("container.namespaces"))
    said = found.checks[8].verdict.why.partition("Shared with the host: ")[2]
    assert all(word.partition(":")[0] in said for word in common)

    shared = found.on_host_network
    assert f"net:{os.stat('/proc/self/ns/net').st_ino}" in shared.words("container.namespaces")
    assert verdict(8, shared) == "in part"
    assert verdict(8, with_facts(evidence, {"container.init": "systemd"})) == "not here"
    assert verdict(8, under_the_name_of(evidence, "host", "container")) == "not here"


def test_a_container_is_isolated_as_a_process(found: Found) -> None:
    evidence = real(found, 9)
    inside, outside = evidence.words("container.numbers")[-1], evidence.words("container.numbers")[0]
    assert inside == "1"
    assert int(outside) > 1
    assert "sleep" in evidence.words("container.host-processes")
    assert "sleep" not in evidence.words("vm.host-processes")
    assert verdict(9, evidence) == "holds"

    assert (
        verdict(9, found.on_host_network._replace(facts={**evidence.facts, **found.on_host_network.facts})) == "in part"
    )
    assert verdict(9, with_facts(evidence, {"container.numbers": outside})) == "not here"


# --- resources


def test_a_virtual_machine_is_heavy_on_the_processor(found: Found) -> None:
    evidence = real(found, 10)
    accelerated = real(found, 7).facts["vm.accelerator"] == "kvm"
    assert verdict(10, evidence) in (("in part", "not here") if accelerated else ("holds",))

    assert verdict(10, under_the_name_of(evidence, "container", "vm")) != "holds"
    nothing = under_the_name_of(under_the_name_of(evidence, "host", "vm"), "container", "idle")
    alike = with_samples(nothing, vm_idle_percent=evidence.samples["container.idle_percent"])
    assert verdict(10, alike) == "not here"


def test_a_virtual_machine_is_heavy_on_memory(found: Found) -> None:
    evidence = real(found, 11)
    assert verdict(11, evidence) == "holds"
    few_more = with_samples(
        evidence, vm_memory_bytes=(1.2e6, 1.25e6, 1.3e6, 1.35e6), container_memory_bytes=(1e6, 1.05e6, 1.1e6, 1.15e6)
    )
    assert verdict(11, few_more) == "in part"
    assert verdict(11, under_the_name_of(evidence, "container", "vm")) == "not here"


def test_a_virtual_machine_is_heavy_on_storage(found: Found) -> None:
    evidence = real(found, 12)
    assert evidence.total("image.bytes") > 0
    assert verdict(12, evidence) in ("holds", "in part")
    assert verdict(12, with_samples(evidence, vm_disk_bytes=(3e8, 3.1e8, 3.2e8, 3.3e8))) == "holds"
    nothing_more = under_the_name_of(evidence, "container", "vm")
    assert verdict(12, with_samples(nothing_more, vm_kernels_bytes=(0.0,), vm_templates_bytes=(0.0,))) == "not here"


def test_a_container_is_lightweight(found: Found) -> None:
    evidence = real(found, 13)
    assert verdict(13, evidence) in ("holds", "in part")
    as_a_vm = under_the_name_of(evidence, "vm", "container")
    if real(found, 7).facts["vm.accelerator"] == "tcg":
        assert verdict(13, as_a_vm) == "not here"
    assert verdict(13, with_samples(evidence, container_work_s=evidence.samples["vm.work_s"])) == "in part"


# --- portability


def test_a_virtual_machine_is_of_limited_portability(found: Found) -> None:
    evidence = real(found, 14)
    assert evidence.facts["vm.moved"] == "yes"
    assert verdict(14, evidence) == "in part"
    assert verdict(14, with_facts(evidence, {"vm.moved": "no", "vm.complaint": "no QEMU"})) == "holds"
    assert verdict(14, with_samples(evidence, vm_moved_bytes=(0.0,))) == "not here"


def test_a_container_is_very_portable(found: Found) -> None:
    evidence = real(found, 15)
    if shutil.which("podman"):
        assert evidence.facts["engine.podman"] == "yes"
        assert verdict(15, evidence) == "holds"
    assert verdict(15, with_facts(evidence, {"engine.podman": "no: exec format error"})) == "in part"
    alone = with_facts(evidence, {"engine.podman": "not installed", "engine.docker": "not installed"})
    assert verdict(15, alone) == "in part"

    assert found.not_moved.facts["container.complaint"]
    assert verdict(15, found.not_moved) == "not here"


# --- use cases


def test_virtual_machines_are_for_full_isolation(found: Found) -> None:
    evidence = real(found, 16)
    assert evidence.facts["container.memory"] == evidence.facts["host.memory"] != evidence.facts["vm.memory"]

    assert verdict(16, with_facts(evidence, KVM)) == "holds"
    assert verdict(16, with_facts(evidence, TCG)) == "not here"
    assert verdict(16, under_the_name_of(with_facts(evidence, KVM), "container", "vm")) == "in part"


def test_virtual_machines_are_for_several_types_of_system(found: Found) -> None:
    evidence = real(found, 17)
    same = evidence.facts["vm.release"] == evidence.facts["host.release"]
    assert verdict(17, evidence) == ("not here" if same else "in part")
    assert verdict(17, with_facts(evidence, machines("machine", kernel="FreeBSD", release="14.1"))) == "holds"
    assert verdict(17, under_the_name_of(evidence, "host", "vm")) == "not here"


def test_containers_are_for_light_fast_and_scalable_environments(found: Found) -> None:
    evidence = real(found, 18)
    assert evidence.facts["container.copies-answered"] == evidence.facts["vm.copies-answered"] == "10"
    assert verdict(18, evidence) in ("holds", "in part")
    assert verdict(18, under_the_name_of(evidence, "vm", "container")) == "in part"  # they answer, and no more
    assert verdict(18, with_facts(evidence, {"container.copies-answered": "9"})) == "not here"


def test_containers_are_for_cloud_native_applications(found: Found) -> None:
    evidence = real(found, 19)
    needs = [key for key in evidence.facts if key.startswith("cloud.")]
    unmet = [key for key in needs if evidence.facts[key] == "no"]
    assert len(needs) == 6
    assert unmet == []

    assert verdict(19, evidence) == ("in part" if unmet else "holds")
    assert verdict(19, with_facts(evidence, dict.fromkeys(needs, "yes"))) == "holds"
    assert verdict(19, with_facts(evidence, dict.fromkeys(needs, "no"))) == "not here"


def test_containers_are_for_microservices(found: Found) -> None:
    evidence = real(found, 20)
    assert evidence.facts["container.chain"] == evidence.facts["vm.chain"] == "yes"
    assert verdict(20, evidence) == "holds"
    assert verdict(20, under_the_name_of(under_the_name_of(evidence, "container", "x"), "x", "vm")) == "holds"
    assert verdict(20, with_samples(evidence, vm_chain_s=(0.001,))) == "in part"
    assert verdict(20, with_facts(evidence, {"container.replaced": "no"})) == "in part"
    assert verdict(20, with_facts(evidence, {"container.chain": "no"})) == "not here"


# --- stacks


def test_the_stack_of_a_virtual_machine_has_five_layers(found: Found) -> None:
    evidence = real(found, 21)
    assert evidence.total("vm.stopped") < 0.05 < evidence.total("vm.running")
    assert verdict(21, evidence) == "holds"
    # The engine of a container, stopped in the same way, does not stop what is above it.
    assert (
        verdict(21, under_the_name_of(real(found, 23), "container", "vm")._replace(facts=evidence.facts)) == "in part"
    )
    assert verdict(21, with_facts(evidence, {"vm.levels": real(found, 23).facts["container.levels"]})) == "not here"


def test_a_hypervisor_runs_the_virtual_machine(found: Found) -> None:
    evidence = real(found, 22)
    assert evidence.facts["vm.monitor"].startswith("qemu")
    assert verdict(22, with_facts(evidence, KVM)) == "holds"
    assert verdict(22, with_facts(evidence, TCG)) == "in part"
    assert verdict(22, with_facts(evidence, {"vm.monitor": "", "vm.accelerator": ""})) == "not here"


def test_the_stack_of_a_container_has_four_layers(found: Found) -> None:
    evidence = real(found, 23)
    assert evidence.total("container.stopped") > evidence.total("container.running") / 2
    assert verdict(23, evidence) == "in part"
    carried = with_samples(evidence, container_stopped=real(found, 21).samples["vm.stopped"])
    assert verdict(23, carried) == "holds"
    assert verdict(23, with_facts(evidence, {"container.levels": real(found, 21).facts["vm.levels"]})) == "not here"


def test_an_engine_manages_the_containers(found: Found) -> None:
    evidence = real(found, 24)
    assert verdict(24, evidence) == "holds"
    assert verdict(24, with_facts(evidence, {"managed.enter": "no"})) == "in part"
    verbs = [key for key in evidence.facts if key.startswith("managed.")]
    assert verdict(24, with_facts(evidence, dict.fromkeys(verbs, "no"))) == "not here"


def test_there_is_no_hypervisor_under_a_container(found: Found) -> None:
    evidence = real(found, 25)
    assert verdict(25, with_facts(evidence, {"host.hypervisor": ""})) == "holds"
    assert verdict(25, with_facts(evidence, {"host.hypervisor": "KVM"})) == "in part"
    of_a_vm = {"container.host-processes": real(found, 9).facts["vm.host-processes"]}
    assert verdict(25, with_facts(evidence, of_a_vm)) == "not here"


# --- the table


def test_each_topic_has_claims_about_either_side_in_order() -> None:
    assert list(dict.fromkeys(claim.topic for claim in CLAIMS)) == list(TOPICS)
    assert len({claim.sentence for claim in CLAIMS}) == len(CLAIMS)


def test_what_was_observed_here_leaves_no_gap(found: Found) -> None:
    gaps = {number: check.evidence.gap for number, check in found.checks.items() if check.evidence.gap}
    assert gaps == {}
    assert json.dumps([check.evidence.facts for check in found.checks.values()])


def test_every_figure_of_a_guest_says_what_ran_it(found: Found) -> None:
    told = {number for number in found.checks if has_figures_of_a_guest(real(found, number))}
    assert told == {4, 5, 6, 10, 11, 12, 13, 14, 18, 20}
    for number in told:
        assert real(found, number).facts["vm.accelerator"] in ("kvm", "tcg")
        assert "of TCG" in judged(CLAIMS[number - 1], with_facts(real(found, number), TCG)).why
        assert "of KVM" in judged(CLAIMS[number - 1], with_facts(real(found, number), KVM)).why


def test_evidence_with_a_gap_is_never_judged(found: Found) -> None:
    for number, check in found.checks.items():
        assert verdict(number, check.evidence._replace(gap="no virtual machine ran here")) == "not measured"
