"""Figures of samples whose true values are known."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import median
from scipy.stats import bootstrap, mannwhitneyu

from twinhull.compare import statistics as ours

TIED = st.one_of(st.integers(1, 30).map(float), st.floats(min_value=1e-6, max_value=1e6))
POSITIVE = st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=40)


@given(POSITIVE)
def test_the_median_is_the_standard_librarys(values: list[float]) -> None:
    assert ours.median(values) == pytest.approx(statistics.median(values))


@given(POSITIVE, st.floats(min_value=0, max_value=1))
def test_a_percentile_lies_within_the_values(values: list[float], share: float) -> None:
    found = ours.percentile(values, share)
    assert min(values) <= found or found == pytest.approx(min(values))
    assert found <= max(values) or found == pytest.approx(max(values))


def test_percentiles_are_those_of_numpys_default_method() -> None:
    assert ours.percentile([1, 2, 3, 4], 0.95) == pytest.approx(3.85)
    assert ours.percentile([10, 20], 0.5) == 15


@pytest.mark.parametrize("size", range(1, ours.FEWEST))
def test_fewer_than_six_values_have_a_range_and_no_interval(size: int) -> None:
    values = [7.0, 3.0, 9.0, 5.0, 4.0][:size]
    found = ours.summarise(values)
    assert (found.low, found.high, found.bounds) == (min(values), max(values), "range")
    ratio = ours.compare(values, [2.0, 2.5, 3.0, 2.0, 2.2, 2.4, 2.6])
    assert ratio is not None
    assert (ratio.low, ratio.high, ratio.bounds) == (min(values) / 3, max(values) / 2, "range")
    assert ratio.resolution is None
    assert ours.summarise([*values, *[5.0] * ours.FEWEST]).bounds == "interval"


@pytest.mark.parametrize(
    ("size", "other", "enough"),
    [
        (1, 30, False),
        (2, 2, False),
        (3, 3, False),
        (3, 4, False),
        (2, 7, False),
        (3, 5, True),
        (4, 4, True),
        (2, 8, True),
    ],
)
def test_few_values_show_a_difference_only_where_their_order_can(size: int, other: int, enough: bool) -> None:
    """Equal values on each side too: the approximation for ties alone would call three against three a difference."""
    for step in (0.0, 0.1):
        low, high = [1.0 + step * n for n in range(size)], [90.0 + step * n for n in range(other)]
        found = ours.compare(high, low)
        assert found is not None
        assert found.shown is enough, (size, other, step)
        mixed = ours.compare([*low, *high], [*low, *high, 1.0])
        assert mixed is not None
        assert not mixed.shown


@given(st.lists(st.floats(min_value=0.001, max_value=10), min_size=2, max_size=20))
def test_an_interval_holds_its_median_and_no_values_from_outside(values: list[float]) -> None:
    found = ours.summarise(values)
    assert found.low <= found.median <= found.high or found.low == pytest.approx(found.high)
    assert min(values) <= found.low
    assert found.high <= max(values)


def test_one_sample_has_no_spread_and_shows_no_difference() -> None:
    assert ours.summarise([3.0]) == (1, 3.0, 3.0, 3.0, 3.0)
    found = ours.compare([3.0], [1.0])
    assert found is not None
    assert (found.value, found.shown) == (3.0, False)


def test_a_slowdown_on_purpose_is_shown_and_equal_work_is_not() -> None:
    chance = random.Random(5)
    base = [chance.gauss(100, 5) for _ in range(30)]
    same = [chance.gauss(100, 5) for _ in range(30)]
    slow = [chance.gauss(120, 5) for _ in range(30)]

    shown, equal = ours.compare(slow, base), ours.compare(same, base)

    assert shown is not None
    assert equal is not None
    assert shown.shown
    assert shown.low < 1.2 < shown.high
    assert not equal.shown
    assert equal.resolution is not None
    assert 0 < equal.resolution < 0.1


@pytest.mark.slow
def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    chance = random.Random(11)
    covered = 0
    for trial in range(60):
        first = [chance.lognormvariate(1.0, 0.2) for _ in range(15)]
        second = [chance.lognormvariate(0.0, 0.2) for _ in range(15)]
        found = ours.compare(first, second, seed=trial)
        assert found is not None
        covered += found.low <= 2.718281828 <= found.high
    assert covered >= 53, f"{covered} of 60 intervals hold the true ratio"


@pytest.mark.slow
def test_two_runs_of_equal_work_have_intervals_that_overlap() -> None:
    chance = random.Random(3)
    overlapping = 0
    for trial in range(40):
        one, other = (ours.summarise([chance.lognormvariate(0, 0.1) for _ in range(30)], seed=trial) for _ in range(2))
        overlapping += one.low <= other.high and other.low <= one.high
    assert overlapping >= 38, f"{overlapping} of 40"


@pytest.mark.parametrize("size", [10, 30])
def test_the_interval_of_a_median_covers_it_as_scipys_does(size: int) -> None:
    """Coverage as a property: ours and scipy's percentile bootstrap on the same samples, of a known median."""
    chance = random.Random(size)
    covered = {"ours": 0, "scipys": 0}
    trials = 50
    for trial in range(trials):
        values = [chance.lognormvariate(0, 0.3) for _ in range(size)]
        found = ours.summarise(values, seed=trial)
        covered["ours"] += found.low <= 1 <= found.high
        other = bootstrap((values,), median, method="percentile", n_resamples=1000, rng=trial).confidence_interval
        covered["scipys"] += other.low <= 1 <= other.high
    assert covered["ours"] >= 0.88 * trials, covered
    assert abs(covered["ours"] - covered["scipys"]) <= 0.05 * trials, covered


@given(POSITIVE, POSITIVE)
def test_the_effect_is_the_share_of_pairs_that_are_larger_less_those_that_are_smaller(
    first: list[float], second: list[float]
) -> None:
    found = ours.rank_test(first, second)
    if min(len(first), len(second)) < 2:
        assert found is None
        return
    pairs = [(one > other) - (one < other) for one in first for other in second]
    assert found is not None
    assert found.effect == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= found.p <= 1


@given(st.lists(TIED, min_size=2, max_size=24), st.lists(TIED, min_size=2, max_size=24))
def test_the_rank_test_is_scipys(first: list[float], second: list[float]) -> None:
    """With and without equal values, on both sides of the size up to which the chances are counted."""
    found, theirs = ours.rank_test(first, second), mannwhitneyu(first, second, alternative="two-sided")
    assert found is not None
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.effect == pytest.approx(2 * theirs.statistic / (len(first) * len(second)) - 1)


def test_ranks_tell_a_slowdown_from_equal_work() -> None:
    chance = random.Random(8)
    base, same, slow = ([chance.gauss(mean, 5) for _ in range(30)] for mean in (100, 100, 120))
    shown, equal = ours.rank_test(slow, base), ours.rank_test(same, base)
    assert shown is not None and shown.p < 0.001 and shown.effect > 0.9
    assert equal is not None and equal.p > 0.05 and abs(equal.effect) < 0.3


def test_the_same_samples_give_the_same_figures() -> None:
    assert ours.compare([1, 2, 3], [2, 3, 5]) == ours.compare([1, 2, 3], [2, 3, 5])
    assert ours.summarise([1, 2, 9]) == ours.summarise([1, 2, 9])


@pytest.mark.parametrize(("first", "second"), [([], [1.0]), ([1.0], []), ([1.0, 2.0], [0.0, 0.0]), ([-1.0], [1.0])])
def test_a_ratio_that_means_nothing_is_not_given(first: list[float], second: list[float]) -> None:
    assert ours.compare(first, second) is None


def test_noise_is_not_decided_by_one_interrupted_repeat() -> None:
    assert ours.noise([1.0, 1.0, 1.0, 1.0, 50.0]) == 0
    assert ours.noise([0.9, 1.0, 1.1, 1.0, 0.95]) == pytest.approx(0.0741, abs=0.001)


def test_the_first_of_several_brings_what_all_of_them_share() -> None:
    assert ours.growth(9.0, [2.0, 3.0, 2.0]) == [9.0, 12.0, 14.0]
    assert ours.growth(1.0, [2.0, 3.0]) == [2.0, 5.0], "it shared with others from the beginning, and has grown"
    assert ours.growth(9.0, []) == []
