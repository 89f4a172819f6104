"""How many fit: each limit by what one instance takes of it, the smallest first."""

from __future__ import annotations

import pytest

from twinhull.compare import density
from twinhull.engine import room as rooms
from twinhull.engine.room import Room, Weight, Weights, limits, ranked

LIGHT = Weight(memory_bytes=1e6, disk_bytes=1e5, processor_percent=0.0, tasks=2, files=10)
LARGE = Room(10**10, 10**12, 400.0, 30_000, None, 10**6, 1023, 65_533, 90_000)


def names(weight: Weight, room: Room) -> list[str]:
    return [limit.name for limit in limits(weight, room)]


@pytest.mark.parametrize(
    ("weight", "room", "name", "count"),
    [
        (LIGHT, LARGE, "bridge ports", 1023),
        (LIGHT._replace(memory_bytes=1e8), LARGE, "memory", 100),
        (LIGHT, LARGE._replace(addresses=253), "addresses", 253),
        (LIGHT, LARGE._replace(tasks=101), "pids", 50),
        (LIGHT, LARGE._replace(cgroup_tasks=41), "cgroup pids", 20),
        (LIGHT, LARGE._replace(files=99), "descriptors", 9),
        (LIGHT._replace(disk_bytes=1e11), LARGE, "disk", 10),
        (LIGHT._replace(processor_percent=2.0), LARGE, "processor", 200),
        (LIGHT, LARGE._replace(namespaces=7), "namespaces", 7),
    ],
)
def test_the_smallest_limit_binds(weight: Weight, room: Room, name: str, count: int) -> None:
    first = limits(weight, room)[0]
    assert (first.name, first.most) == (name, count)
    assert density.entry([first], weight, [1.0, 2.0])["binds"] == name


def test_what_could_not_be_read_or_costs_nothing_is_no_limit() -> None:
    assert "cgroup pids" not in names(LIGHT, LARGE)
    assert "processor" not in names(LIGHT, LARGE)
    assert "memory" not in names(LIGHT, LARGE._replace(memory_bytes=None))


def test_a_limit_that_is_reached_lets_none_in() -> None:
    assert limits(LIGHT, LARGE._replace(ports=0))[0].most == 0


def test_tasks_and_files_that_are_left() -> None:
    assert rooms.tasks_room("0.10 0.20 0.30 2/345 678\n", "32768\n", "193000\n") == 32768 - 345
    assert rooms.tasks_room("0.10 0.20 0.30 2/345 678\n", "4194304\n", "193000\n") == 193000 - 345
    assert rooms.tasks_room("", "32768", "") is None
    assert rooms.files_room("1120\t0\t2470000\n") == 2470000 - 1120
    assert rooms.files_room("") is None


def test_the_curve_has_a_point_for_each_number_of_instances() -> None:
    found = density.entry(limits(LIGHT, LARGE), LIGHT, [5.0, 6.0, 7.0])
    assert found["points"] == [[1, 5.0], [2, 6.0], [3, 7.0]]
    assert found["slope_bytes"] == 1e6


def test_the_phrase_names_the_number_and_what_ends_it() -> None:
    found = density.entry(limits(LIGHT, LARGE), LIGHT, [5.0, 6.0])
    assert density.told(found) == "1,023 more fit: bridge ports bind first"
    before = {**found, "limits": [{"name": "memory", "count": 9, "basis": ""}]}
    del before["may_bind"]
    assert density.told(before) == "9 more fit: memory binds first", "a document without intervals"
    assert density.told(None) == density.told({"limits": []}) == ""


def weights(low: float, middle: float, high: float) -> Weights:
    """One that takes so much of a processor while it idles."""
    heavy = LIGHT._replace(memory_bytes=5e7)
    return Weights(*(heavy._replace(processor_percent=percent) for percent in (middle, low, high)))


def test_a_count_has_the_interval_of_what_it_was_computed_from() -> None:
    found = density.entry(ranked(weights(1.0, 2.0, 4.0), LARGE), LIGHT, [1.0, 2.0])
    counts = {one["name"]: (one["count"], one["low"], one["high"]) for one in found["limits"]}
    assert counts["processor"] == (200, 100, 400)
    assert counts["memory"] == (200, 200, 200)
    assert density.told(found).startswith("200")


def test_two_limits_whose_intervals_overlap_are_not_told_apart() -> None:
    near = density.entry(ranked(weights(1.0, 1.9, 4.0), LARGE), LIGHT, [1.0, 2.0])
    assert (near["binds"], near["may_bind"]) == ("memory", ["processor"])
    assert density.told(near) == "200 more fit: memory or processor first, their intervals overlap"
    far = density.entry(ranked(weights(1.0, 1.1, 1.2), LARGE), LIGHT, [1.0, 2.0])
    assert (far["binds"], far["may_bind"]) == ("memory", [])
    first = density.entry(ranked(weights(3.0, 4.0, 5.0), LARGE), LIGHT, [1.0, 2.0])
    assert density.told(first) == "100 [80, 133] more fit: processor binds first"


def test_what_may_take_nothing_has_no_upper_end() -> None:
    found = density.entry(ranked(weights(0.0, 4.0, 5.0), LARGE), LIGHT, [1.0, 2.0])
    assert found["limits"][0]["high"] is None
    assert density.told(found).startswith("100 [80, any] more fit: processor or memory or ")


def test_of_few_instances_a_count_has_a_range() -> None:
    found = density.entry(ranked(weights(3.0, 4.0, 5.0), LARGE), LIGHT, [1.0, 2.0], "range")
    assert density.told(found) == "100 (80–133) more fit: processor binds first"
    near = density.entry(ranked(weights(1.0, 1.9, 4.0), LARGE), LIGHT, [1.0, 2.0], "range")
    assert density.told(near) == "200 more fit: memory or processor first, their ranges overlap"
