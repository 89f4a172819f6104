"""The table of rules: when each fires, what it decides, and which weighs more than which."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.advice import report
from twinhull.advice.advise import advise, choose, document
from twinhull.advice.question import Abilities, Cost, Limit, Measured, Needs, Packed, Question, Room, Wishes
from twinhull.advice.rule import CHOICES, WEIGHTS, Rule
from twinhull.advice.rules import RULES

PAGE = Path(__file__).parents[2] / "docs/advise.md"
MEASURED = Measured(
    "app", own=True, accelerator="kvm", container=Cost(0.04, 1e6), vm=Cost(0.2, 60e6, 100e6), machine=Cost(9.0, 300e6)
)
TRUSTED = Question(
    "app", packed=Packed(known=True, architecture="amd64"), here=Abilities(accelerator="kvm"), measured=MEASURED
)
TCG = Abilities(accelerator="tcg", reason="/dev/kvm: No such file or directory")
HERE = Abilities(accelerator="kvm", architectures=("amd64", "386"), guest_architectures=("amd64", "386"))
RULE = {rule.name: rule for rule in RULES}


def wishing(here: Abilities = TRUSTED.here, **wishes: Any) -> Question:
    return TRUSTED._replace(here=here, wishes=Wishes(**wishes))


def asking(here: Abilities = TRUSTED.here, untrusted: bool = False, **needs: Any) -> Question:
    return TRUSTED._replace(here=here, needs=Needs(**needs), wishes=Wishes(untrusted=untrusted))


def packed(here: Abilities = HERE, **values: Any) -> Question:
    return TRUSTED._replace(here=here, packed=Packed(known=True, **values))


def holding(container: int = 99, vm: int = 99, machine: int = 99, **wishes: Any) -> Question:
    """Twenty instances where so many of each fit."""
    left = Room(*((Limit("pids", most, "40 left, 2 each", most, most),) for most in (container, vm, machine)))
    return wishing(instances=20, **wishes)._replace(room=left)


# rule -> a question for which it fires, the nearest for which it does not, and the answer to the first
CASES: dict[str, tuple[Question, Question, str]] = {
    "untrusted code does not share the host's kernel": (wishing(untrusted=True), TRUSTED, "vm"),
    "untrusted code needs a wall that somebody promises": (
        wishing(TCG, untrusted=True),
        wishing(untrusted=True),
        "stop",
    ),
    "untrusted code gets no door through the wall": (
        asking(untrusted=True, doors=("/etc",)),
        asking(doors=("/etc",)),
        "stop",
    ),
    "another operating system is a machine's": (wishing(system="freebsd"), TRUSTED, "machine"),
    "a container's programs are for this kernel's processor": (
        packed(HERE._replace(guest_architectures=("amd64", "riscv64")), architecture="riscv64"),
        packed(architecture="386"),
        "vm",
    ),
    "a guest's programs are for the guest's processor": (
        packed(HERE._replace(architectures=("amd64", "arm64")), architecture="arm64"),
        packed(architecture="amd64"),
        "container",
    ),
    "a kernel of its own is no container's": (wishing(own_kernel=True), TRUSTED, "vm"),
    "a module that this kernel lacks is a machine's": (
        wishing(HERE._replace(missing_modules=("zfs",))),
        wishing(kernel_modules=("overlay",)),
        "machine",
    ),
    "a module that this kernel may lack is a machine's": (
        wishing(HERE._replace(unknown_modules=("zfs",))),
        wishing(HERE._replace(missing_modules=("zfs",))),
        "machine",
    ),
    "a setting of the whole kernel is not a container's": (asking(sysctls=("vm.swappiness",)), TRUSTED, "vm"),
    "a device of the host stays with the host's kernel": (asking(devices=("/dev/dri",)), TRUSTED, "container"),
    "a namespace of the host is not a guest's": (asking(namespaces=("network",)), asking(bridge=True), "container"),
    "a user namespace and an OCI runtime are a container's": (
        asking(of_container=("--runtime crun",))._replace(wishes=Wishes(isolation="vm")),
        wishing(isolation="vm"),
        "container",
    ),
    "a socket of the host does not lead out of a guest": (asking(sockets=("/run/docker.sock",)), TRUSTED, "container"),
    "a VM is too late": (wishing(start_within_s=0.1), wishing(start_within_s=0.2), "container"),
    "a machine is too late": (wishing(start_within_s=8.9, system="freebsd"), wishing(start_within_s=9.0), "stop"),
    "a container is too late": (wishing(start_within_s=0.03), wishing(start_within_s=0.04), "stop"),
    "VMs do not fit": (
        wishing(instances=10, memory_budget_bytes=699_000_000),
        wishing(instances=10, memory_budget_bytes=700_000_000),
        "container",
    ),
    "machines do not fit": (
        wishing(HERE._replace(missing_modules=("zfs",)), instances=10, memory_budget_bytes=2_999_999_999),
        wishing(instances=10, memory_budget_bytes=3_000_000_000),
        "stop",
    ),
    "containers do not fit": (wishing(memory_budget_bytes=999_999), wishing(memory_budget_bytes=1_000_000), "stop"),
    "VMs reach a limit of this machine": (holding(vm=19), holding(vm=20), "container"),
    "machines reach a limit of this machine": (holding(machine=19, system="windows"), holding(machine=20), "stop"),
    "containers reach a limit of this machine": (holding(container=19), holding(container=20), "vm"),
    "a bridge has so many ports": (
        asking(Abilities(bridge_ports=0), bridge=True),
        asking(Abilities(bridge_ports=1), bridge=True),
        "stop",
    ),
    "no container runs here": (TRUSTED._replace(here=HERE._replace(no_container="no overlayfs")), TRUSTED, "vm"),
    "no guest runs here": (wishing(HERE._replace(no_vm="no QEMU"), untrusted=True), wishing(untrusted=True), "stop"),
    "you name a container": (
        wishing(TCG, untrusted=True, accept_weak_wall=True, isolation="container"),
        wishing(TCG, untrusted=True, accept_weak_wall=True, isolation="vm"),
        "container",
    ),
    "you name a VM": (wishing(isolation="vm"), TRUSTED, "vm"),
    "the processor keeps untrusted code apart": (wishing(untrusted=True), wishing(TCG, untrusted=True), "vm"),
    "who accepts a weak wall gets QEMU's jail": (
        wishing(TCG, untrusted=True, accept_weak_wall=True),
        wishing(untrusted=True, accept_weak_wall=True),
        "vm",
    ),
    "privileges are better over a kernel of its own": (asking(privileges=("CAP_SYS_ADMIN",)), TRUSTED, "vm"),
    "what needs no kernel of its own is cheaper without one": (TRUSTED, wishing(own_kernel=True), "container"),
    "paths of the host are nearer to a container": (asking(volumes=1), TRUSTED, "container"),
    "TCG is no wall": (wishing(TCG), TRUSTED, "container"),
    "what the kernel of a machine has": (wishing(HERE._replace(missing_modules=("zfs",))), TRUSTED, "machine"),
    "KVM that no guest has proven": (wishing(Abilities(reason="/dev/kvm opens")), wishing(TCG), "container"),
    "an engine's socket is the host": (asking(sockets=("/run/docker.sock",)), asking(doors=("/",)), "container"),
    "the host's own directories are the host": (asking(doors=("/",)), asking(volumes=1), "container"),
    "root of the host's kernel": (packed(root=True), packed(), "container"),
    "an image that is not here": (TRUSTED._replace(packed=Packed()), TRUSTED, "container"),
    "nothing measured": (TRUSTED._replace(measured=Measured()), TRUSTED, "container"),
}


def test_every_rule_has_a_name_a_case_and_its_place_by_weight() -> None:
    assert [rule.name for rule in RULES] == list(CASES)
    weights = [WEIGHTS.index(rule.weight) for rule in RULES]
    assert weights == sorted(weights)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_fires_where_it_should_and_not_beside_it(name: str) -> None:
    question, beside, choice = CASES[name]
    assert RULE[name].applies(question)
    assert not RULE[name].applies(beside)
    advice = advise(question)
    assert advice.choice == choice
    assert name in [row.rule for row in advice.fired]
    sentence = RULE[name].says(question)
    assert sentence[-1] not in ".," and "  " not in sentence


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_veto_excludes_and_nothing_else_does(rule: Rule) -> None:
    assert bool(rule.excludes) == (rule.weight == "veto")
    assert rule.favours not in rule.excludes
    assert (rule.favours is None) if rule.weight == "note" else True
    assert rule.source


def made(weight: str, favours: Any = None, excludes: Any = ()) -> Rule:
    return Rule("made", weight, lambda _: True, lambda _: "", excludes, favours)  # type: ignore[arg-type]  # a literal


@pytest.mark.parametrize(
    ("rules", "choice"),
    [
        ([], "container"),
        ([made("veto", excludes=("container",))], "vm"),
        ([made("veto", excludes=("container",)), made("strong", "container")], "vm"),
        ([made("preference", "container"), made("strong", "vm")], "vm"),
        ([made("strong", "machine"), made("strong", "vm")], "machine"),
        ([made("strong", "vm"), made("veto", "machine", ("container",))], "machine"),
        ([made("veto", excludes=("vm",)), made("strong", "vm"), made("preference", "machine")], "machine"),
        ([made("veto", excludes=("vm", "machine")), made("veto", excludes=("container",))], "stop"),
        ([made("note", "vm"), made("preference", "container")], "container"),
    ],
)
def test_a_veto_beats_strong_beats_preference_and_of_equals_the_first(rules: list[Rule], choice: str) -> None:
    assert choose(rules) == choice


def test_a_workload_without_special_needs_is_a_container_in_the_numbers_of_this_machine() -> None:
    advice = advise(TRUSTED)
    assert advice.choice == "container"
    assert advice.reasons == (
        "app needs no kernel of its own; a container starts 5.0 times as fast and takes 1/60 of the RAM and kernel RAM",
    )
    assert advice.would_change == (
        "code you do not trust (then a VM)",
        "a kernel or architecture that is not the host's (then a VM)",
    )


def test_numbers_of_another_image_say_whose_they_are() -> None:
    other = TRUSTED._replace(measured=MEASURED._replace(image="busybox", own=False))
    assert advise(other).reasons[0].endswith("of the RAM and kernel RAM (measured with busybox)")


def test_what_is_outweighed_is_told_and_said_to_be() -> None:
    advice = advise(wishing(untrusted=True))
    (row,) = [row for row in advice.fired if row.role == "outweighed"]
    assert row.rule == "what needs no kernel of its own is cheaper without one"
    assert row.rule not in advice.rules


def test_several_instances_must_fit_into_the_memory_that_is_free() -> None:
    free = HERE._replace(free_memory_bytes=700_000_000)
    assert advise(wishing(free, instances=11, own_kernel=True)).choice == "stop"
    assert advise(wishing(free, instances=10, own_kernel=True)).choice == "vm"


def test_what_the_user_says_binds_the_wall_as_well() -> None:
    assert advise(wishing(untrusted=True, start_within_s=0.1)).choice == "stop"


@pytest.mark.parametrize("accelerator", ["tcg", ""])
def test_untrusted_code_without_kvm_stops_and_says_what_is_missing(accelerator: Any) -> None:
    advice = advise(wishing(Abilities(accelerator=accelerator), untrusted=True))
    assert advice.choice == "stop"
    assert any("KVM" in reason for reason in advice.reasons)
    assert "KVM on this machine (then a VM)" in advice.would_change


def test_where_only_the_wall_is_missing_the_answer_names_the_flag_that_does_without() -> None:
    def offered(question: Question) -> bool:
        return any("--accept-weak-wall" in change for change in advise(question).would_change)

    assert offered(wishing(TCG, untrusted=True))
    assert offered(asking(TCG, untrusted=True, doors=("/etc",)))
    assert not offered(wishing(HERE, untrusted=True))  # KVM is a wall
    assert not offered(asking(HERE, untrusted=True, doors=("/etc",)))  # and this goes through it
    assert not offered(wishing(TCG, untrusted=True, start_within_s=0.1))  # no guest is that fast
    assert not offered(wishing(TCG, untrusted=True, accept_weak_wall=True, start_within_s=0.1))
    assert not offered(wishing(TCG, start_within_s=0.01))


texts = st.sampled_from(("", "x"))
names = st.lists(st.sampled_from(("a", "b")), max_size=2).map(tuple)
amounts = st.sampled_from((0.0, 0.01, 0.5, 1e9))
costs = st.builds(Cost, amounts, amounts, amounts)
limits = st.sampled_from(
    ((), (Limit("pids", 0, "", 0, 0),), (Limit("addresses", 9, "", 9, 9), Limit("pids", 5000, "", 1, None)))
)
questions = st.builds(
    Question,
    st.just("app"),
    st.builds(
        Wishes,
        untrusted=st.booleans(),
        accept_weak_wall=st.booleans(),
        instances=st.sampled_from((1, 5000)),
        start_within_s=amounts,
        memory_budget_bytes=st.sampled_from((0, 1, 1 << 40)),
        own_kernel=st.booleans(),
        system=st.sampled_from(("linux", "windows")),
    ),
    st.builds(Needs, names, names, st.integers(0, 1), names, names, names, names, st.booleans(), st.booleans()),
    st.builds(
        Packed,
        st.booleans(),
        st.sampled_from(("linux", "windows")),
        st.sampled_from(("", "amd64", "arm64")),
        st.booleans(),
    ),
    st.builds(
        Abilities,
        accelerator=st.sampled_from(("kvm", "tcg", "")),
        reason=texts,
        no_container=texts,
        no_vm=texts,
        architectures=st.sampled_from(((), ("amd64",))),
        guest_architectures=st.sampled_from(((), ("amd64",))),
        missing_modules=names,
        unknown_modules=names,
        machine_modules=names,
        machine_lacks=names,
        bridge_ports=st.sampled_from((-1, 0, 1, 1023)),
        free_memory_bytes=st.sampled_from((0, 1 << 30)),
    ),
    st.builds(Measured, texts, st.booleans(), amounts, st.just("tcg"), costs, costs, costs),
    st.builds(Room, limits, limits, limits),
)


@pytest.mark.slow
@given(questions)
@settings(max_examples=1500)
def test_it_fails_closed(question: Question) -> None:
    advice = advise(question)
    wishes, kvm = question.wishes, question.here.accelerator == "kvm"
    assert advice.choice in (*CHOICES, "stop")
    if wishes.untrusted:
        assert advice.choice != "container"
        assert kvm or wishes.accept_weak_wall or advice.choice == "stop"
    if wishes.untrusted and not wishes.accept_weak_wall and (question.needs.doors or question.needs.sockets):
        assert advice.choice == "stop"
    for row in advice.fired:
        assert "stronger" not in row.sentence or "no stronger" in row.sentence
        assert advice.choice not in row.excludes


@given(questions)
def test_what_is_not_trusted_is_never_better_off_than_what_is(question: Question) -> None:
    trusted = question._replace(wishes=question.wishes._replace(untrusted=False))
    if advise(trusted).choice == "stop":
        assert advise(question._replace(wishes=question.wishes._replace(untrusted=True))).choice == "stop"


def test_no_combination_recommends_a_guest_without_kvm_as_a_wall() -> None:
    for accelerator in ("tcg", ""):
        for system in ("linux", "windows"):
            here = Abilities(accelerator=accelerator)
            question = TRUSTED._replace(here=here, wishes=Wishes(untrusted=True, system=system))
            assert advise(question).choice == "stop"


def test_what_code_that_is_not_trusted_reaches_is_noted_where_a_weak_wall_is_accepted() -> None:
    question = asking(TCG, doors=("/",), sockets=("/run/docker.sock",))
    asked = question._replace(wishes=Wishes(untrusted=True, accept_weak_wall=True))
    notes = {row.rule for row in advise(asked).fired if row.weight == "note"}
    assert notes == {"TCG is no wall", "an engine's socket is the host", "the host's own directories are the host"}
    refused = advise(question._replace(wishes=Wishes(untrusted=True)))
    assert not [row for row in refused.fired if row.weight == "note"]


def test_the_document_has_every_rule_that_fired_with_its_source() -> None:
    shown = document(advise(wishing(TCG, untrusted=True)))
    assert shown["choice"] == "stop"
    assert shown["fired"][0]["source"].startswith("NIST SP 800-190")
    assert shown["fired"][0]["excludes"] == ("container",)


def test_the_page_shows_the_table_as_it_is() -> None:
    row = re.compile(r"^\| ([^|]+) \| (veto|strong|preference|note) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
    assert row.findall(PAGE.read_text()) == [(rule.name, rule.weight, effect(rule), rule.source) for rule in RULES]


def effect(rule: Rule) -> str:
    """What the page says that a rule does."""
    parts = [f"not {', '.join(rule.excludes)}"] if rule.excludes else []
    parts += [f"for {rule.favours}"] if rule.favours else []
    return "; ".join(parts)


def test_a_named_isolation_that_cannot_be_is_outweighed_and_told() -> None:
    answer = advise(asking(namespaces=("network",))._replace(wishes=Wishes(isolation="vm")))
    assert answer.choice == "container"
    assert [row.role for row in answer.fired if row.rule == "you name a VM"] == ["outweighed"]


def test_a_machine_that_was_never_measured_is_told_with_the_command_that_measures_it() -> None:
    asked = wishing(HERE._replace(missing_modules=("zfs",)))
    silent = asked._replace(measured=MEASURED._replace(machine=Cost()))
    told = "machine      not measured here: twinhull compare --subjects container,vm,machine app"
    assert told in report.render(silent, advise(silent), "", ())
    assert "not measured" not in report.render(asked, advise(asked), "", ())
    windows = silent._replace(workload="windows", packed=Packed(known=True), wishes=Wishes(system="windows"))
    assert "--subjects container,vm,machine\n" in report.render(windows, advise(windows), "", ()) + "\n"
