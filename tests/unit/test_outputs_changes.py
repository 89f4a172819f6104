"""--compare-with: a workload slowed on purpose is seen, one left alone is not, and strangers are refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support import documents
from twinhull.compare import statistics
from twinhull.compare.outputs import changes
from twinhull.errors import InvalidRequest


def verdicts(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in changes.changes(old, new, "old.json")["quantities"]}


def test_what_was_slowed_is_seen_and_what_was_left_alone_is_not() -> None:
    found = verdicts(documents.complete(seed=1), documents.complete(seed=2, factor=1.3))
    slowed = {key for key in documents.MIDDLES if key.startswith("vm.") and key.endswith("_s")}
    assert {key for key, verdict in found.items() if verdict == "more"} == slowed
    assert {found[key] for key in found.keys() - slowed} == {"no change shown"}


def test_what_became_faster_is_less() -> None:
    found = verdicts(documents.complete(seed=1), documents.complete(seed=2, factor=0.7))
    assert found["vm.first_output_s"] == "less"


@pytest.mark.slow
def test_two_runs_of_the_same_hardly_ever_differ() -> None:
    """A false alarm in at most one of twenty comparisons is what Holm's correction promises."""
    chance = random.Random(11)
    alarms = 0
    for _ in range(15):
        old, new = ({f"vm.q{n}_s": [chance.gauss(1, 0.1) for _ in range(10)] for n in range(10)} for _ in range(2))
        alarms += any(one.verdict in ("more", "less") for one in changes.compare(old, new, 0.0))
    assert alarms <= 3


def test_a_difference_below_the_noise_of_the_machine_is_none() -> None:
    old, new = documents.complete(seed=1), documents.complete(seed=2, factor=1.3)
    old["host"]["noise"] = new["host"]["noise"] = 0.3
    assert "more" not in verdicts(old, new).values()


def test_an_increase_is_found_from_the_smallest_that_is_said_and_not_below() -> None:
    """As many quantities as a comparison has: what the rank test can tell after the correction is in the figure."""
    chance = random.Random(3)
    for noise, size in ((0.02, 10), (0.02, 30), (0.9, 10), (0.02, 8)):
        old, new = (
            {f"vm.q{n}_s": [chance.lognormvariate(n, 0.02 * (n + 1)) for _ in range(size)] for n in range(26)}
            for _ in range(2)
        )
        for one in changes.compare(old, new, noise)[::4]:
            assert one.ratio is not None
            assert one.resolution is not None
            assert one.resolution >= noise
            for share, verdict in ((1.05, "more"), (0.9, "no change shown")):
                factor = (1 + one.resolution * share) / one.ratio
                scaled = {**new, one.name: [value * factor for value in new[one.name]]}
                found = {again.name: again.verdict for again in changes.compare(old, scaled, noise)}
                assert found[one.name] == verdict, (one, share)


def test_what_no_increase_could_show_has_no_smallest_one() -> None:
    few, none = ({"vm.stop_s": [value] * size} for value, size in ((1.0, 3), (0.0, 10)))
    for samples in (few, none):
        assert [one.resolution for one in changes.compare(samples, samples, 0.1)] == [None]


def test_values_of_which_the_test_could_tell_nothing_are_too_few() -> None:
    """Apart with equal ones among them, seven on each side have a p of 0.002: too much for 26 quantities."""
    samples = {f"vm.q{n}_s": [1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0] for n in range(26)}
    found = changes.compare(samples, samples, 0.0)
    assert {(one.resolution, one.verdict) for one in found} == {(None, "too few samples")}


def test_too_few_samples_are_called_so_and_what_only_one_run_has_too() -> None:
    old, new = documents.complete(), documents.complete(factor=2.0)
    old["samples"]["vm.first_output_s"] = [0.1] * 3
    old["samples"]["vm.stop_s"] = []
    del new["samples"]["vm.exec_s"]
    found = verdicts(old, new)
    assert found["vm.first_output_s"] == "too few samples"
    assert found["vm.stop_s"] == "only now"
    assert found["vm.exec_s"] == "only before"


@pytest.mark.parametrize(
    ("section", "name", "value", "says"),
    [
        ("host", "processor", "Other", "processor Other then"),
        ("host", "processors", 64, "processors 64 then"),
        ("host", "architecture", "aarch64", "architecture aarch64 then"),
        ("host", "accelerator", "kvm", "accelerator kvm then, tcg now"),
        ("host", "host", {"hypervisor": "Xen"}, "the hypervisor below Xen then"),
        ("host", "memory_bytes", 8_000_000_000, "memory 8.00 GB then"),
        ("image", "reference", "nginx:1.27", "image nginx:1.27 then"),
        ("image", "command", ["true"], "command true then, echo hi now"),
    ],
)
def test_another_machine_or_workload_is_refused(section: str, name: str, value: object, says: str) -> None:
    old = documents.complete()
    old[section][name] = value
    with pytest.raises(InvalidRequest) as caught:
        changes.changes(old, documents.complete(), "old.json")
    assert says in caught.value.message


def test_another_effort_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="effort quick then, full now"):
        changes.changes({**documents.complete(), "effort": "quick"}, documents.complete(), "old.json")


def test_another_build_of_the_image_and_another_kernel_are_noted() -> None:
    old, new = documents.complete(), documents.complete()
    old["image"] |= {"digest": "sha256:00", "reference": "registry:5000/busybox:1.36"}
    new["image"] |= {"reference": "registry:5000/busybox@sha256:11"}
    old["host"] |= {"kernel": "6.1.0"}
    found = changes.changes(old, new, "old.json")
    assert [note.partition(":")[0] for note in found["notes"]] == ["the image is another", "kernel"]


def test_equal_values_show_nothing() -> None:
    (found,) = changes.compare({"vm.first_output_s": [1.0] * 10}, {"vm.first_output_s": [1.0] * 10}, 0.0)
    assert (found.p, found.verdict) == (1.0, "no change shown")


def test_the_smallest_p_is_that_of_two_sets_apart() -> None:
    for size, other in ((3, 3), (3, 5), (6, 4)):
        found = statistics.rank_test(range(size), range(size, size + other))
        assert found is not None
        assert found.p == pytest.approx(statistics.smallest_p(size, other))


def test_the_correction_is_holms() -> None:
    assert changes.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_people_read_the_changes_first_and_the_rest_by_what_is_said_of_it() -> None:
    found = changes.changes(documents.complete(seed=1), documents.complete(seed=2, factor=1.3), "old.json")
    lines = list(changes.lines(found))
    assert lines[0] == f"against old.json; noise of both runs {found['noise']:.1%}"
    assert lines[1].startswith("vm.first_output_s: 17")
    assert lines[1].endswith(" more")
    assert lines[-1].startswith("no change shown: ")
