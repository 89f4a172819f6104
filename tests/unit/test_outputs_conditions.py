"""--fail-if: what can be said, what is wrong and where, and what comes out on a document."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import documents
from twinhull.compare import statistics
from twinhull.compare.outputs import conditions, operands, quantities
from twinhull.errors import InvalidRequest

SUBJECTS = st.sampled_from(sorted(quantities.SUBJECTS))
UNIT_OF = {"s": "ms", "B": "MB", "%": "%", "": ""}


def outcome(expression: str, document: dict[str, object] | None = None) -> str:
    return conditions.judge(conditions.parse(expression), document or documents.complete()).outcome


@pytest.mark.parametrize(
    ("text", "subject", "other", "quantity", "statistic", "bound"),
    [
        ("vm.startup.template.p50 > 300ms", "vm_template", "", "first_output_s", "p50", 0.3),
        ("vm.startup.cold.p95 > 2 s", "vm_cold", "", "first_output_s", "p95", 2.0),
        ("vm.startup.p95>250ms", "vm", "", "first_output_s", "p95", 0.25),
        ("container.startup >= 50ms", "container", "", "first_output_s", "median", 0.05),
        ("container.exec.p50 < 10us", "container", "", "exec_s", "p50", 10e-6),
        ("vm.memory.median > 20MB", "vm", "", "memory_bytes", "median", 20e6),
        ("vm_cold.first_output_s.high == 3s", "vm_cold", "", "first_output_s", "high", 3.0),
        ("machine.memory_bytes > 1.5GiB", "machine", "", "memory_bytes", "median", 1.5 * 2**30),
        ("vm/container.startup > 5x", "vm", "container", "first_output_s", "", 5.0),
        ("vm/container.startup.cold.low > 5", "vm_cold", "container", "first_output_s", "low", 5.0),
        ("docker/container.memory_bytes != 1x", "docker", "container", "memory_bytes", "", 1.0),
        ("vm.idle > 5%", "vm", "", "idle_percent", "median", 5.0),
        ("vm.phase.kernel.p95 > 100ms", "vm", "", "phase_kernel_s", "p95", 0.1),
        ("container.load.cpu < 0.9x", "container", "", "load_cpu", "", 0.9),
        ("vm.load.random_read.low < 0.1", "vm", "", "load_random_read", "low", 0.1),
        ("vm.density < 100", "vm", "", "density", "", 100.0),
        ("noise > 10%", "", "", "noise", "", 10.0),
        ("  took > 90s  ", "", "", "took", "", 90.0),
    ],
)
def test_a_condition_is_understood(
    text: str, subject: str, other: str, quantity: str, statistic: str, bound: float
) -> None:
    found = conditions.parse(text)
    assert found.operand[:4] == (subject, other, quantity, statistic)
    assert found.bound == pytest.approx(bound)
    assert found.expression == text.strip()


@pytest.mark.parametrize(
    ("text", "wrong", "hint"),
    [
        ("vm.startpu.p50 > 300ms", "startpu", "startup"),
        ("vn.startup > 300ms", "vn", "vm"),
        ("vm/contaner.startup > 3x", "contaner", "container"),
        ("vm.startup.p59 > 300ms", "p59", "p50"),
        ("container.startup.template > 1s", "template", "p50"),
        ("vm/container.startup.p95 > 3x", "p95", "high"),
        ("vm.startup.p50.p95 > 1s", "p95", "nothing can follow"),
        ("vm.load.cpus > 1x", "cpus", "cpu"),
        ("vm.load > 1x", ">", "fsync"),
        ("vm.load.cpu.p95 > 1x", "p95", "low"),
        ("vm.phase.kernal > 1s", "kernal", "kernel"),
        ("vm.phase.kernel.p95.low > 1s", "low", "nothing can follow"),
        ("vm.load.cpu > 1s", "1s", "example"),
        ("vm.startup > 300", "300", "example"),
        ("vm.startup > 3MB", "3MB", "example"),
        ("vm.memory > 3 s", "3 s", "example"),
        ("vm.startup > 3sec", "sec", "ms"),
        ("nois > 3%", "nois", "noise"),
        ("vm.startup = 3s", "=", "example"),
        ("vm.startup > -3s", "-", "example"),
        ("> 3s", ">", "example"),
        ("vm.startup > 3s or more", "or more", "example"),
    ],
)
def test_an_error_points_at_the_place_and_names_what_was_meant(text: str, wrong: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        conditions.parse(text)
    _, shown, pointer = caught.value.message.split("\n")
    place = pointer.index("^")
    assert shown[place:].startswith(wrong)
    assert pointer.count("^") in (len(wrong), 1)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 125


@example("\uabee?<0")
@given(st.text(max_size=60) | st.text(alphabet="vm.container/startup><=!0123456789sMB% ", max_size=40))
def test_any_text_is_a_condition_or_an_error_that_can_be_printed(text: str) -> None:
    caught: InvalidRequest | None = None
    try:
        conditions.parse(text)
    except InvalidRequest as error:
        caught = error
    assert caught is None or (caught.hint and all(line.isprintable() for line in caught.message.split("\n")))


@given(
    SUBJECTS,
    st.sampled_from(quantities.QUANTITIES),
    st.sampled_from(sorted(operands.STATISTICS)),
    st.sampled_from(sorted(conditions.COMPARISONS)),
    st.decimals(0, 10_000, places=3),
    st.sampled_from(["", " "]),
)
def test_every_name_of_the_table_can_be_asked_for(
    subject: str, quantity: quantities.Quantity, statistic: str, comparison: str, number: object, space: str
) -> None:
    unit = UNIT_OF[quantity.unit]
    for name in (quantity.name, quantity.key):
        found = conditions.parse(f"{subject}.{name}.{statistic}{space}{comparison}{space}{number}{unit}")
        assert (found.operand.subject, found.operand.quantity) == (subject, quantity.key)
        assert found.comparison == comparison


def test_names_and_keys_of_the_table_are_one_each() -> None:
    assert len(quantities.BY_NAME) == len(quantities.BY_KEY) == len(quantities.QUANTITIES)
    assert not quantities.BY_NAME.keys() & quantities.VARIANTS.keys()


def test_every_key_of_a_real_document_is_in_the_table() -> None:
    for key in documents.real()["samples"]:
        subject, _, quantity = key.partition(".")
        assert subject in quantities.SUBJECTS
        assert quantity in quantities.BY_KEY


def test_a_condition_is_judged_by_the_figure_it_names() -> None:
    document = documents.complete()
    middle = statistics.median(document["samples"]["vm.first_output_s"])
    assert outcome(f"vm.startup > {middle * 0.99:.6f}s", document) == "so"
    assert outcome(f"vm.startup > {middle * 1.01:.6f}s", document) == "not so"
    ratio = statistics.compare(*(document["samples"][f"{side}.memory_bytes"] for side in ("vm", "container")))
    assert ratio
    assert outcome(f"vm/container.memory > {ratio.value * 0.99:.3f}x", document) == "so"
    assert outcome(f"vm/container.memory.low > {ratio.value:.3f}x", document) == "not so"
    assert outcome("vm.density == 1023", document) == "so"
    assert outcome("vm.load.cpu < 0.32x", document) == outcome("vm.load.cpu.low < 0.31x", document) == "so"
    assert outcome("vm.load.cpu.high < 0.31x", document) == "not so"
    assert outcome("vm.load.read < 1x", document) == "not measured"
    document["samples"]["vm_cold.phase_kernel_s"] = [2.5] * 10
    assert outcome("vm_cold.phase.kernel > 2s", document) == "so"
    document["samples"]["vm.phase_kernel_s"] = [0.05] * 10
    assert outcome("vm.phase.kernel > 40ms", document) == "so"


def test_few_values_have_no_ends_of_an_interval_to_be_judged() -> None:
    document = documents.complete()
    key = "vm.first_output_s"
    document["samples"][key] = [0.1, 0.2, 0.3]
    document["statistics"][key] = statistics.summarise(document["samples"][key]).document()
    assert outcome("vm.startup > 0.15s", document) == "so"
    assert outcome("vm/container.startup > 2x", document) == "so"
    for expression in ("vm.startup.low > 0.05s", "vm.startup.high < 1s", "vm/container.startup.low > 1x"):
        (judged,) = conditions.judge_all([conditions.parse(expression)], document)
        assert (judged["outcome"], judged["low"]) == ("not measured", None)
        assert judged["reason"] == "vm.first_output_s: 3 values have a range and no interval"
    found = next(item for item in document["load"] if item["name"] == "cpu")
    found["subjects"]["vm"]["ratio_bounds"] = "range"
    assert outcome("vm.load.cpu < 0.32x", document) == "so"
    assert outcome("vm.load.cpu.low < 0.32x", document) == "not measured"


def test_what_was_not_measured_has_its_reason() -> None:
    document = documents.real()
    document["gaps"] = {"machine": "mmdebstrap is not installed", "vm.stop_s": "it had ended"}
    document["host"]["noise"] = None
    for expression, reason in (
        ("machine.startup > 1s", "mmdebstrap is not installed"),
        ("vm.stop > 1s", "it had ended"),
        ("machine/vm.startup > 1x", "mmdebstrap is not installed"),
        ("podman.startup > 1s", "this run did not look at it"),
        ("machine.density < 3", "mmdebstrap is not installed"),
        ("noise > 1%", "the noise was not measured"),
        ("vm.phase.kernel > 100ms", "vm_cold.phase.kernel has it"),
        ("vm.kernel > 100ms", "vm_cold.kernel has it"),
    ):
        found = conditions.judge(conditions.parse(expression), document)
        assert found.outcome == "not measured"
        assert reason in found.reason


def test_one_that_is_so_decides_before_one_that_was_not_measured() -> None:
    def code(*expressions: str) -> int:
        return conditions.exit_code(conditions.judge_all(map(conditions.parse, expressions), documents.complete()))

    so, not_so, unknown = "vm.startup > 1us", "vm.startup > 1000s", "podman.startup > 1s"
    assert code() == code(not_so) == 0
    assert code(unknown, not_so) == 4
    assert code(unknown, so) == code(so, unknown) == code(so) == 3


def test_a_judgement_says_the_figure_with_its_interval() -> None:
    (found,) = conditions.judge_all([conditions.parse("vm.startup > 1us")], documents.complete())
    assert conditions.describe(found).startswith("vm.startup > 1us: so, it is 17")
    assert " ms [" in conditions.describe(found)


def with_starts(count: int) -> dict[str, object]:
    """A document with so many starts of a VM, from 101 ms upwards."""
    document = documents.complete()
    document["statistics"] = {}
    document["samples"]["vm.first_output_s"] = [0.1 + number / 1000 for number in range(1, count + 1)]
    return document


def test_a_percentile_is_not_shown_with_the_interval_of_the_median() -> None:
    median, percentile = (
        conditions.judge(conditions.parse(f"vm.startup.{statistic} > 1us"), with_starts(24))
        for statistic in ("p50", "p95")
    )
    assert (median.outcome, percentile.outcome) == ("so", "so")
    assert median.low is not None and (percentile.low, percentile.high) == (None, None)


@pytest.mark.parametrize("count", [1, 3, 10, 19])
def test_a_p95_of_few_values_is_not_judged(count: int) -> None:
    found = conditions.judge_all([conditions.parse("vm.startup.p95 > 1us")], with_starts(count))
    assert conditions.exit_code(found) == 4
    assert found[0]["reason"] == f"too few samples: vm.first_output_s has {count}, a p95 means something from 20"
    assert outcome("vm.startup.p50 > 1us", with_starts(count)) == "so"


def test_a_p95_of_enough_values_is() -> None:
    assert outcome("vm.startup.p95 > 118ms", with_starts(20)) == "so"
    assert outcome("vm.startup.p95 > 120ms", with_starts(20)) == "not so"
