"""The table of rules: each answer, its reasons, and which rule comes before which."""

from __future__ import annotations

import itertools

import pytest

from twinhull.compare.advise import RULES, Question, advise

TRUSTED = Question("app", accelerator="kvm")


def test_a_workload_without_special_needs_is_a_container() -> None:
    advice = advise(TRUSTED)
    assert advice.choice == "container"
    assert advice.reasons == ("app needs no kernel of its own",)
    assert "code you do not trust" in advice.would_change


def test_the_reason_is_told_in_the_numbers_of_this_machine() -> None:
    measured = TRUSTED._replace(
        vm_start_s=0.2, container_start_s=0.04, vm_memory_bytes=60e6, container_memory_bytes=1e6
    )
    assert advise(measured).reasons == (
        "app needs no kernel of its own; a container starts 5.0 times as fast and takes 1/60 of the memory",
    )


def test_untrusted_code_under_kvm_is_a_vm() -> None:
    assert advise(TRUSTED._replace(untrusted=True)).choice == "vm"


@pytest.mark.parametrize("accelerator", ["tcg", ""])
def test_untrusted_code_without_kvm_stops_and_says_what_is_missing(accelerator: str) -> None:
    advice = advise(Question("app", accelerator="tcg" if accelerator else "", untrusted=True))
    assert advice.choice == "stop"
    assert "KVM" in advice.reasons[0]
    assert advice.would_change == ("KVM on this machine",)


def test_no_combination_recommends_a_guest_without_kvm_as_a_wall() -> None:
    booleans = (False, True)
    for untrusted, other, container, vm in itertools.product(booleans, repeat=4):
        for within in (0.0, 0.1):
            question = Question(
                "app", "tcg", container, vm, untrusted=untrusted, other_kernel=other, start_within_s=within
            )
            advice = advise(question)
            assert not (untrusted and advice.choice != "stop"), question
            assert not any("stronger" in reason and "no stronger" not in reason for reason in advice.reasons)


def test_under_tcg_the_container_is_not_sold_as_safe_but_the_vm_is_no_wall_either() -> None:
    assert advise(TRUSTED._replace(accelerator="tcg")).reasons[-1] == "without KVM the VM is no stronger wall"


@pytest.mark.parametrize(
    ("question", "choice"),
    [
        (TRUSTED._replace(other_kernel=True), "vm"),
        (TRUSTED._replace(other_kernel=True, vm_runs=False), "stop"),
        (TRUSTED._replace(container_runs=False), "vm"),
        (TRUSTED._replace(vm_runs=False), "container"),
        (TRUSTED._replace(container_runs=False, vm_runs=False), "stop"),
        (TRUSTED._replace(start_within_s=0.1, vm_start_s=0.2, container_start_s=0.04), "container"),
    ],
)
def test_needs_decide(question: Question, choice: str) -> None:
    assert advise(question).choice == choice


def test_what_cannot_run_comes_after_what_is_unsafe() -> None:
    assert advise(TRUSTED._replace(untrusted=True, vm_runs=False)).choice == "stop"
    assert advise(TRUSTED._replace(untrusted=True, container_runs=False)).choice == "vm"


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
