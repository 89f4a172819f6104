"""What a comparison leaves for whoever asks for advice later."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.advice.measurements import MAX_ROWS, Row, parse, pick, text_with, wanted
from twinhull.advice.price import prices
from twinhull.advice.question import Cost, Measured, Question, Wishes
from twinhull.config import Config
from twinhull.engine import measurements

MEDIANS = {
    "container.first_output_s": 0.05,
    "container.memory_bytes": 1e5,
    "container.kernel_bytes": 1e5,
    "vm.first_output_s": 0.35,
    "vm.memory_bytes": 4e7,
}
ROW = Row("sha256:a", "a", "tcg", "6.18", 1.0, MEDIANS, 1e8)


def test_the_row_of_the_image_comes_before_a_later_one_of_another() -> None:
    rows = (ROW, ROW._replace(digest="sha256:b", image="b"))
    own = pick(rows, digest="sha256:a", accelerator="tcg", kernel="6.18")
    assert own == Measured("a", True, 1.0, "tcg", Cost(0.05, 2e5), Cost(0.35, 4e7, 1e8), Cost())
    silent = ROW._replace(medians={"vm.healthy_s": 0.4, "container.healthy_s": 0.1})
    assert pick((silent,), digest="sha256:a", accelerator="tcg", kernel="6.18").vm.start_s == 0.4
    other = pick(rows, digest="sha256:c", accelerator="tcg", kernel="6.18")
    assert (other.image, other.own) == ("b", False)


def test_what_one_instance_takes_of_the_machines_limits_is_kept() -> None:
    kept = wanted(
        {"vm.memory_bytes": 1.0, "vm.tasks": 7.0, "vm.files": 90.0, "vm.disk_bytes": 5.0, "vm.idle_percent": 0.5}
    )
    row = parse(text_with((), ROW._replace(medians=kept)))[0]
    assert pick((row,), digest="", accelerator="tcg", kernel="6.18").vm == Cost(0, 1.0, 1e8, 7.0, 90.0, 5.0, 0.5)


def test_a_machine_is_the_same_beside_every_image_and_its_figures_say_where_they_are_from() -> None:
    beside = ROW._replace(digest="sha256:b", medians={**MEDIANS, "machine.first_output_s": 20.0})
    found = pick((beside, ROW), digest="sha256:a", accelerator="tcg", kernel="6.18")
    assert (found.own, found.machine, found.machine_apart) == (True, Cost(20.0), True)
    assert dict(prices(Question("a", measured=found)))["start"].endswith("machine 20.0 s (in another comparison)")
    assert not pick((ROW, beside), digest="sha256:b", accelerator="tcg", kernel="6.18").machine_apart
    assert pick((ROW, beside), digest="sha256:a", accelerator="tcg", kernel="6.19") == Measured()
    other = ROW._replace(accelerator="kvm")
    assert pick((beside, other), digest="sha256:a", accelerator="kvm", kernel="6.18").machine == Cost()


@pytest.mark.parametrize(("accelerator", "kernel"), [("kvm", "6.18"), ("tcg", "6.19")])
def test_another_accelerator_or_kernel_counts_as_nothing_measured(accelerator: str, kernel: str) -> None:
    assert pick((ROW,), digest="sha256:a", accelerator=accelerator, kernel=kernel) == Measured()


def test_a_row_takes_the_place_of_its_predecessor_and_the_oldest_are_forgotten() -> None:
    rows: tuple[Row, ...] = ()
    for number in range(MAX_ROWS + 5):
        rows = parse(text_with(rows, ROW._replace(digest=f"sha256:{number}")))
    assert [row.digest for row in rows] == [f"sha256:{number}" for number in range(5, MAX_ROWS + 5)]
    again = parse(text_with(rows, rows[3]._replace(when=9.0)))
    assert len(again) == MAX_ROWS
    assert again[-1] == rows[3]._replace(when=9.0)
    assert len(parse(text_with(again, rows[3]._replace(accelerator="kvm")))) == MAX_ROWS


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 2, "rows": []}', '{"schema": 1, "rows": [{"x": 1}]}'])
def test_a_document_that_is_damaged_or_from_elsewhere_has_no_rows(text: str) -> None:
    assert parse(text) == ()


def test_what_was_not_measured_is_not_kept_as_zero() -> None:
    assert wanted({"vm_template.first_output_s": 0.1, "vm_cold.first_output_s": 2.0}) == {}
    assert wanted({**MEDIANS, "vm.memory_bytes": 0.0, "docker.first_output_s": 1.0}) == {
        name: value for name, value in MEDIANS.items() if name != "vm.memory_bytes"
    }


def test_figures_of_two_runs_are_never_mixed() -> None:
    alone = ROW._replace(when=2.0, accelerator="", medians={"container.first_output_s": 0.2}, template_bytes=0.0)
    rows = parse(text_with([ROW], alone))
    assert rows == (ROW, alone)
    assert pick(rows, digest="sha256:a", accelerator="tcg", kernel="6.18").when == ROW.when
    guest = ROW._replace(when=3.0, medians={"vm.first_output_s": 0.1})
    rows = parse(text_with([alone], guest))
    found = pick(rows, digest="sha256:a", accelerator="tcg", kernel="6.18")
    assert (found.when, found.container, found.vm.start_s) == (3.0, Cost(), 0.1)
    again = ROW._replace(when=4.0, medians={name: ROW.medians[name] for name in ROW.medians if "first" in name})
    assert parse(text_with([ROW, guest], again)) == (guest, again)


def test_a_row_of_containers_alone_counts_under_any_accelerator() -> None:
    alone = ROW._replace(accelerator="", medians={"container.first_output_s": 0.2})
    assert pick((alone,), digest="sha256:a", accelerator="tcg", kernel="6.18").container.start_s == 0.2


def test_the_file_keeps_what_was_remembered(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path))
    assert measurements.read(config) == ()
    for name in ("a", "b"):
        measurements.remember(config, ROW._replace(digest=name))
    assert [row.digest for row in measurements.read(config)] == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["measurements.json", "measurements.json.lock"]


def test_prices_are_told_for_each_choice_that_was_measured() -> None:
    found = pick((ROW,), digest="sha256:a", accelerator="", kernel="6.18")
    question = Question("a", Wishes(instances=10), measured=found)
    assert prices(question) == (
        ("start", "container 50.0 ms, VM 350 ms (7.0x)"),
        ("memory of one more", "container 200 kB, VM 40.0 MB (200x)"),
        ("memory of 10", "container 2.00 MB, VM 500 MB (250x)"),
        ("kept once for all", "VM 100 MB"),
    )
    assert prices(question._replace(measured=Measured())) == ()
