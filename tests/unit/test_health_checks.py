"""Health checks: whose words count, and what the launcher's file says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_privileges import asked
from twinhull.cli.filters import read
from twinhull.engine import health
from twinhull.errors import InvalidRequest
from twinhull.model import Health, Request
from twinhull.oci.health import check_of
from twinhull.store.instances import request_from, request_text

SECOND_NS = 1_000_000_000


def config(**check: Any) -> str:
    return json.dumps({"config": {"Healthcheck": check}})


def test_the_numbers_are_the_requests_then_the_images_then_dockers() -> None:
    image = config(Test=["CMD", "look", "here"], Interval=5 * SECOND_NS, Retries=7)
    assert check_of(Request("x"), image) == Health(("look", "here"), 5000, 30_000, 7, 0, 5000)
    request = Request("x", health=Health(("CMD-SHELL", "a b"), 0, 1500, 2))
    assert check_of(request, image) == Health(("/bin/sh", "-c", "a b"), 5000, 1500, 2, 0, 5000)
    assert check_of(Request("x", health=Health((), 9)), image) == Health(("look", "here"), 9, 30_000, 7, 0, 5000)


def test_an_images_shell_runs_its_text() -> None:
    image = json.dumps({"config": {"Shell": ["/bin/bash", "-ec"], "Healthcheck": {"Test": ["CMD-SHELL", "x"]}}})
    assert check_of(Request("x"), image) == Health(("/bin/bash", "-ec", "x"), 30_000, 30_000, 3, 0, 5000)


@pytest.mark.parametrize("check", [{}, {"Test": []}, {"Test": ["NONE"]}, {"Test": 7}, {"Interval": SECOND_NS}])
def test_no_test_is_no_check(check: dict[str, Any]) -> None:
    assert check_of(Request("x"), config(**check)) is None
    assert check_of(Request("x", health=Health((), 5)), config(**check)) is None


def test_none_refuses_the_images() -> None:
    assert check_of(Request("x", health=Health(("NONE",))), config(Test=["CMD", "look"])) is None


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3) | st.floats(), st.lists, max_leaves=4))
def test_what_an_image_makes_of_it_is_a_check_or_none(value: Any) -> None:
    for key in ("Test", "Interval", "Retries", "StartPeriod"):
        check_of(Request("x"), config(**{"Test": ["CMD", "x"], key: value}))
    check_of(Request("x"), json.dumps({"config": {"Healthcheck": value}}))


def test_flags_become_a_check_and_come_back_from_the_database() -> None:
    words = ("--health-cmd", "a b", "--health-interval", "1m30s", "--health-timeout", "1.5s", "--health-retries", "2")
    found = asked(*words, "--health-start-period", "1h", "--health-start-interval", "20ms")
    assert found.health == Health(("CMD-SHELL", "a b"), 90_000, 1500, 2, 3_600_000, 20)
    assert request_from(request_text(found)) == found
    assert asked("--no-healthcheck").health == Health(("NONE",))


@pytest.mark.parametrize(
    "words",
    [
        ("--health-interval", "5"),
        ("--health-interval", "s"),
        ("--health-interval", "0s"),
        ("--health-interval", "1d"),
        ("--health-interval", "-1s"),
        ("--health-interval", "1..5s"),
        ("--health-timeout", "1s5"),
        ("--health-retries", "0"),
        ("--no-healthcheck", "--health-cmd", "x"),
    ],
)
def test_what_means_nothing_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        asked(*words)


def test_the_file_of_the_launcher_is_read_whatever_a_check_wrote() -> None:
    output = b"1.5 2.5 0 3\n\xff\n"
    found = health.parse(b"unhealthy 4\n1.5 2.25 -1 %d\n%s\n3.0 4.0 0 0\n\n" % (len(output), output))
    first, second = found.checks
    assert (found.status, found.streak) == ("unhealthy", 4)
    assert first == health.Check(1.5, 2.25, -1, output.decode("utf-8", "replace"))
    assert second == health.Check(3.0, 4.0, 0, "")


def test_filters_are_read_by_key() -> None:
    assert read(["label=a", "label=b=c", "name="]) == {"label": ["a", "b=c"], "name": [""]}
