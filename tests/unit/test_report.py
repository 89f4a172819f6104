"""Rows and their two forms, from findings made up here: text of 100 columns and JSON."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from twinhull.advice import advise
from twinhull.advice.question import Abilities, Measured, Packed, Question
from twinhull.compare import figures, machines, report, rows, startup_row
from twinhull.compare.findings import (
    NAMESPACES,
    Description,
    Findings,
    ImageFacts,
    Monitor,
    number,
    parse_probe,
    shared_namespaces,
)
from twinhull.compare.outputs import text as outputs_text
from twinhull.compare.session import FULL, QUICK, Session
from twinhull.compare.statistics import Ratio, Summary
from twinhull.compare.table import Row
from twinhull.config import Config
from twinhull.host.machine import Host, Machine
from twinhull.machine.clock import Clock

MACHINE = Machine(
    "AMD EPYC", 2, 25 << 30, "x86_64", "Debian GNU/Linux 12 (bookworm)", "6.18.0", Host("KVM", "a clock", "", "none")
)
HOST = {
    "release": "6.18.0", "boot-id": "a", "memory-kb": "24684084 kB", "processors": "2", "uid": "0", "seccomp": "2",
    "syscalls-answered": "310", "syscalls-tried": "475", "capabilities": "00000000a80425fb",
    **{f"namespace-{name}": str(4026531830 + place) for place, name in enumerate(NAMESPACES)},
}  # fmt: skip
OWN = {f"namespace-{name}": str(4026532000 + place) for place, name in enumerate(NAMESPACES) if name != "user"}
ADVICE = advise.advise(
    Question("busybox", packed=Packed(known=True), here=Abilities(accelerator="tcg"), measured=Measured("busybox"))
)


def full() -> Findings:
    chance = random.Random(2)
    found = Findings(ImageFacts("busybox", "sha256:1", "linux/amd64", 2_100_000, platforms=("linux/amd64",)))
    middles = {
        "vm.first_output_s": 0.172, "container.first_output_s": 0.033, "vm_cold.first_output_s": 1.9,
        "vm.total_s": 0.2, "container.total_s": 0.04, "vm.memory_bytes": 20.4e6, "container.memory_bytes": 0.31e6,
        "vm.disk_bytes": 5e5, "container.disk_bytes": 8e3, "vm.copies_s": 3.0, "container.copies_s": 0.3,
        "vm.idle_percent": 0.7, "container.idle_percent": 0.01, "docker.first_output_s": 0.365,
        "plain.first_output_s": 0.002, "container.exec_s": 0.02, "docker.exec_s": 0.15,
        "vm.phase_interpreter_s": 0.02, "vm.phase_vmm_s": 0.05, "vm.phase_init_s": 0.1, "vm.phase_clean_s": 0.01,
    }  # fmt: skip
    sides = {"container": "container", "vm": "vm", "vm_cold": "vm", "docker": "reference", "plain": "reference"}
    found.subjects = [Description(name, name, kind) for name, kind in sides.items()]
    found.subjects.append(Description("podman", "podman", "reference", "not installed"))
    found.gap("podman", "not installed")
    for key, middle in middles.items():
        for _ in range(11):
            found.add(key, chance.gauss(middle, middle / 25))
    found.inside = {
        "host": HOST,
        "container": {**HOST, **OWN},
        "vm": {**HOST, "boot-id": "b", "release": "6.1.0-56-amd64"},
    }
    found.accelerator, found.monitor = "tcg", Monitor(65534, 0, True, ("time",))
    found.guest_kernel_bytes, found.copies = 42_000_000, 10
    return found


def every_row(found: Findings) -> list[Row]:
    return [*(build(found) for build in rows.BUILDERS.values()), rows.use_cases_row(found, ADVICE)]


@pytest.fixture(params=["full", "empty", "no vm", "no container"])
def found(request: pytest.FixtureRequest) -> Findings:
    made = full() if request.param != "empty" else Findings(ImageFacts("busybox"))
    if request.param in ("no vm", "no container"):
        side = request.param.removeprefix("no ")
        made.gap(side, "QEMU is not installed; it would be needed for every figure in this column")
        for key in [key for key in made.samples if key.startswith(side)]:
            del made.samples[key]
        del made.inside[side]
    return made


def test_no_line_is_wider_than_the_table(found: Findings) -> None:
    found.limits.append("a sentence " * 30)
    name = "registry.example/team/a-long-name:with-a-tag" * 2
    found.image = found.image._replace(reference=name)
    printed = outputs_text.render(made(found))

    assert max(map(len, printed.splitlines())) <= report.WIDTH


@pytest.mark.parametrize("machine", [False, True])
def test_no_sides_cell_is_empty_in_any_line(found: Findings, machine: bool) -> None:
    """A side that did not run, and what does not apply to it, say so in their cells."""
    found.subjects += [Description("vm_template", "", "vm")]
    found.density, found.load = {"vm": {"limits": []}}, [{"name": "cpu", "subjects": {}}]
    found.probes, found.only, found.template_bytes = (
        [{"name": "a", "outcomes": {}}],
        [{"side": "vm", "outcomes": {}}],
        5,
    )
    if machine:
        found.subjects.append(Description("machine", "machine", "machine"))
    for row in every_row(found):
        for line in row.lines:
            cells = (line.vm, line.container, *((line.machine,) if machine else ()))
            assert all(cell.text.strip(" :") for cell in cells), (row.topic, line)
            assert machine or not line.machine.text


def test_a_ratio_that_there_is_not_says_why() -> None:
    found = full()
    found.samples["container.idle_percent"] = [0.0] * 11
    del found.samples["vm.disk_bytes"]
    told = {line.container.text.rpartition(" ")[2]: report.comparison(line) for line in rows.resources_row(found).lines}
    assert told["idle"] == "no ratio: a median is 0"
    assert told["disk"] == "no ratio: a side is missing"


def made(found: Findings) -> dict[str, Any]:
    """The document of a run, as it comes back from a file."""
    done = report.document(found, MACHINE, every_row(found), ADVICE, took_s=43.0, noise=0.06, version="1")
    again: dict[str, Any] = json.loads(json.dumps({**done, "failures": {"vm_cold": ["it hung", "it hung again"]}}))
    return again


@pytest.mark.parametrize("machine", [False, True])
def test_a_saved_document_is_printed_as_the_run_printed_it(found: Findings, machine: bool) -> None:
    """The run has rows with figures and no document yet; both go through the same parts."""
    found.limits.append("this machine has no room")
    found.gap("copies.rounds", "for lack of time 4 of 6")
    found.gap("load", "measured with --full")
    if machine:
        found.subjects.append(Description("machine", "machine", "machine"))
        found.samples["machine.first_output_s"] = [30.0, 31.0, 32.0]
    document = made(found)
    host = report.host_json(found, MACHINE, 0.06)
    live = [
        outputs_text.heading("busybox", "quick", host),
        outputs_text.opening({"host": host, "limits": found.limits, "gaps": found.gaps}, machine=machine),
        *(report.render_row(row, machine=machine) for row in every_row(found)),
        outputs_text.closing(document),
    ]
    assert outputs_text.render(document) == "\n".join(live) + "\n"
    assert "2 starts of vm_cold failed: it hung again" in outputs_text.render(document)
    assert "many at once: for lack of time 4 of 6" in outputs_text.render(document)
    assert "load: measured with --full" in " ".join(outputs_text.render(document).split())
    assert ("docker  3" in outputs_text.render(document)) == ("docker.first_output_s" in found.samples)


def test_with_a_machine_there_are_three_columns_and_the_ratios_stand_under_the_figures() -> None:
    found = full()
    found.subjects.append(Description("machine", "machine", "machine"))
    for key, middle in {"machine.first_output_s": 30.0, "machine.memory_bytes": 150e6}.items():
        found.samples[key] = [middle * (1 + step / 100) for step in range(9)]
    lines = [line for row in every_row(found) for line in report.render_row(row, machine=True).splitlines()]
    place = report.titles(machine=True).index("MACHINE", 30)

    assert max(map(len, lines)) <= report.WIDTH
    first = next(number for number, line in enumerate(lines) if line.startswith("Startup"))
    assert any(re.match(r"5\.\dx \[", line[12:]) for line in lines[first + 2 : first + 6])
    boots = next(number for number, line in enumerate(lines) if line[place:].startswith("31.2 s ["))
    assert any(re.match(r"9\d\dx \[", line[place:]) for line in lines[boots + 1 : boots + 4])


def test_a_boot_is_judged_by_an_entire_system_where_one_was_started() -> None:
    found = full()
    assert [line.holds for line in startup_row.boot(found)] == ["not here"]
    found.subjects.append(Description("machine", "machine", "machine"))
    found.samples["machine.first_output_s"] = [75.0]
    assert [line.holds for line in startup_row.boot(found)] == ["holds"]


def test_a_full_os_has_services_and_a_kernel_of_its_own() -> None:
    host, kernel_alone = {"boot-id": "a"}, {"boot-id": "b"}
    assert rows.own_system(kernel_alone, host) == "in part"
    assert rows.own_system({**kernel_alone, "services": "8 dbus systemd-networkd"}, host) == "holds"
    assert rows.own_system({**host, "services": "8 dbus"}, host) == "not here"


@pytest.mark.parametrize("hidden", ["kernel", "init", "up"])
def test_a_machines_phases_are_whole_or_left_out(hidden: str) -> None:
    took = Clock(spawned=0.1, console=0.2, kernel_line=5.0, kernel=4.0, init=10.0, up=30.0)
    found = machines.phases(took, 30.5)
    assert list(found) == ["engine", "vmm", "kernel", "init", "app"]
    assert sum(found.values()) == pytest.approx(30.5)
    unseen: dict[str, Any] = {hidden: None}
    assert machines.phases(took._replace(**unseen), 30.5) == {}


def test_what_runs_beside_ours_stands_below_with_the_same_base() -> None:
    text = report.render_row(startup_row.startup_row(full()))
    docker = next(line for line in text.splitlines() if line.strip().startswith("docker"))

    assert re.search(r"3\d\d ms \[\d+, \d+\] to 1st byte, 11x container; 1\d\d ms \[.*\] exec", docker)
    assert "podman" not in text
    assert "podman: not installed" in outputs_text.absent(made(full()))


def test_the_phases_of_a_start_are_shares_of_the_time_to_the_first_byte() -> None:
    text = startup_row.where(full(), "vm")
    assert re.fullmatch(r"interpreter 1\d%, vmm \d\d%, init [56]\d%", text)
    document = report.phases(full())["vm"]
    assert [phase["name"] for phase in document] == ["interpreter", "vmm", "init", "clean"]
    assert sum(phase["share"] for phase in document) == pytest.approx(1)
    assert all(phase["low"] <= phase["median_s"] <= phase["high"] for phase in document)


def test_every_quantity_of_the_container_is_compared_and_phases_are_not() -> None:
    found = report.comparisons(full())
    named = {(one["quantity"], one["first"]) for one in found}

    assert ("first_output_s", "docker") in named
    assert ("exec_s", "docker") in named
    assert not [quantity for quantity, _ in named if quantity.startswith("phase")]
    for one in found:
        assert one["second"] == "container"
        assert one["low"] <= one["ratio"] <= one["high"]
        assert one["shown"] == (not one["low"] <= 1 <= one["high"])
        assert 0 <= one["p"] <= 1
        assert -1 <= one["effect"] <= 1


def test_a_section_that_nobody_measured_is_empty_and_its_key_is_there() -> None:
    document = report.document(full(), MACHINE, (), ADVICE, took_s=1.0, noise=0.1, version="1")

    assert document["schema"] == report.SCHEMA
    assert [document[key] for key in ("probes", "density", "load", "portability", "only", "stacks")] == [
        [], {}, [], {}, [], {},
    ]  # fmt: skip
    assert document["statistics"].keys() == document["samples"].keys()
    assert document["subjects"][-1] == {
        "name": "podman", "title": "podman", "kind": "reference", "gap": "not installed",
    }  # fmt: skip


def test_quick_is_the_default_with_ten_pairs_and_full_has_thirty() -> None:
    assert (QUICK.pairs, QUICK.minimum) == (10, 10)
    assert min(FULL.pairs, FULL.minimum, FULL.cold, FULL.templates, FULL.lives * FULL.execs) >= 30


def test_wrapping_loses_no_word(found: Findings) -> None:
    for row in every_row(found):
        words = set(report.render_row(row).split())
        for line in row.lines:
            assert set(f"{line.vm.text} {line.container.text}".split()) <= words


def test_the_rows_are_the_six_topics_in_their_order(found: Findings) -> None:
    assert tuple(row.topic for row in every_row(found)) == rows.TOPICS


def test_every_figure_of_the_text_is_in_the_document_with_its_samples() -> None:
    found = full()
    document = json.loads(
        json.dumps(report.document(found, MACHINE, every_row(found), ADVICE, took_s=43.0, noise=0.06, version="1"))
    )

    assert {"image", "host", "rows", "samples"} <= document.keys()
    for row in document["rows"]:
        assert {"topic", "vm", "container", "verdict"} <= row.keys()
        assert row["verdict"].keys() == {"claim", "holds", "ratio", "interval"}
        for figure in (*row["vm"]["figures"], *row["container"]["figures"]):
            assert len(document["samples"][figure["name"]]) == figure["size"]


def test_a_claim_is_judged_by_its_line() -> None:
    verdicts = {row.topic: [(line.claim, line.holds) for line in row.lines if line.claim] for row in every_row(full())}

    assert verdicts == {
        "OS": [("full OS", "in part")],
        "Startup": [("slower", "holds"), ("minutes", "not here")],
        "Isolation": [("stronger", "not here")],
        "Resources": [("heavier", "holds")],
        "Portability": [("less portable", "in part")],
        "Use cases": [("scale slower", "holds")],
    }


def test_a_boot_of_minutes_would_make_the_claim_hold() -> None:
    found = full()
    found.samples["vm_cold.first_output_s"] = [75.0, 80.0, 90.0]

    assert ("minutes", "holds") in [(line.claim, line.holds) for line in startup_row.startup_row(found).lines]


def test_a_service_that_writes_nothing_is_judged_by_its_first_answer() -> None:
    found = full()
    for side in ("vm", "container", "vm_cold"):
        found.samples[f"{side}.healthy_s"] = found.samples.pop(f"{side}.first_output_s")
        found.gap(f"{side}.first_output_s", "it writes nothing")
    lines = startup_row.startup_row(found).lines

    assert [(line.claim, line.holds) for line in lines if line.claim] == [("slower", "holds"), ("minutes", "not here")]
    assert re.search(r"ms \[[\d.]+, [\d.]+\] 1st answer$", lines[0].container.text)
    assert sum("1st answer" in line.container.text for line in lines) == 1
    assert "11 pairs" in outputs_text.render(made(found))


def test_a_gap_shows_its_reason_and_its_claim_is_not_judged() -> None:
    found = Findings(ImageFacts("busybox"))
    found.gap("vm", "QEMU is not installed")
    found.gap("container.total_s", "it goes on after its first output")
    lines = startup_row.startup_row(found).lines
    total = lines[-1]

    assert [line.vm.text.partition(": ")[2] for line in lines if line.vm.text] == ["no VM ran"] * 2
    assert "QEMU is not installed" in outputs_text.opening(made(found), machine=False)
    assert total.container.text == "to exit: it goes on after its first output"
    assert {line.holds for line in lines if line.claim} == {"not measured"}


def test_tcg_is_named_no_security_boundary_and_kvm_is_a_promise() -> None:
    found = full()
    assert "no security boundary" in outputs_text.warning(made(found))
    assert "nobody" in rows.promise(found)
    found.accelerator = "kvm"
    assert outputs_text.warning(made(found)) == ""
    assert rows.wall("kvm") == "holds"
    assert rows.wall("") == "not measured"


def test_a_container_that_answers_from_another_boot_is_never_called_the_hosts_kernel() -> None:
    assert rows.kernel({"release": "6.18.0", "boot-id": "b"}, HOST) == "own kernel 6.18.0"
    assert rows.kernel({"release": "6.18.0", "boot-id": "a"}, HOST) == "host's kernel 6.18.0"


def test_namespaces_are_compared_by_number_within_one_boot() -> None:
    assert shared_namespaces({**HOST, **OWN}, HOST)[0] == ("user",)
    assert shared_namespaces({**HOST, "boot-id": "b"}, HOST)[0] == ()


def test_what_a_guest_prints_cannot_reach_the_terminal() -> None:
    facts = parse_probe("release \x1b[2J6.1\nsyscalls-answered 310\n" + "x y\n" * 100)
    assert facts["release"] == "[2J6.1"
    assert len(facts) <= 64
    assert number(facts, "syscalls-answered") == 310
    assert number(facts, "release") is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.172, "s", "172 ms"), (1.912, "s", "1.91 s"), (20.44e6, "B", "20.4 MB"), (0, "B", "0 B"), (0.7, "%", "0.70 %"),
     (0.0004, "s", "400 us"), (512, "B", "512 B")],
)  # fmt: skip
def test_a_quantity_has_the_digits_it_bears(value: float, unit: str, text: str) -> None:
    assert figures.quantity(value, unit) == text


def test_a_spread_is_in_the_unit_of_its_median() -> None:
    assert figures.spread(Summary(9, 0.9996, 1.2, 0.95, 1.05), "s") == "1000 ms [950, 1050]"
    assert figures.spread(Summary(1, 0.5, 0.5, 0.5, 0.5), "s") == "500 ms (once)"
    assert figures.spread(Summary(5, 0.5, 0.5, 0.45, 0.61), "s") == "500 ms (450–610)"


def test_a_ratio_that_may_be_one_is_no_difference() -> None:
    assert figures.times(Ratio(1.04, 0.95, 1.13, False, 0.09)) == "no difference shown (from 9%)"
    assert figures.times(Ratio(5.23, 4.7, 5.8, True, 0.11)) == "5.2x [4.7, 5.8]"
    assert figures.times(Ratio(1.04, 0.95, 1.13, False, None, "range")) == "1.0x (0.95–1.1)"


@pytest.mark.parametrize(("size", "holds"), [(3, "too few samples"), (4, "holds")])
def test_no_verdict_rests_on_the_range_of_a_few_values(size: int, holds: str) -> None:
    found = full()
    for key in ("vm.memory_bytes", "container.memory_bytes"):
        del found.samples[key][size:]
    row = rows.resources_row(found)
    text = report.render_row(row)

    assert row.lines[0].holds == holds
    assert re.search(r"MB \([\d.]+–[\d.]+\) RAM", text)
    assert re.search(r"\d+x \(\d+–\d+\)", text)
    document = report.row_json(row)
    assert document["verdict"]["interval"] is None
    assert {figure["bounds"] for figure in document["vm"]["figures"]} == {"range", "interval"}


def test_a_stage_that_ended_early_is_named_with_the_rounds_that_it_had() -> None:
    found = full()
    assert outputs_text.shortened(found.gaps) == ""
    session = Session([], found, QUICK, print, Config())
    session.began -= QUICK.limit_s
    assert [session.ends_early("copies", done, 6, 0.9) for done in (0, 3, 4)] == [False, False, True]
    assert outputs_text.shortened(found.gaps) == "! Fewer rounds than planned: many at once: for lack of time 4 of 6."
