"""Marks by directory, what a test may need of the machine, and the look for leaks after it."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import leaks, privileges
from tests.support.command import TEST_LAUNCHER, Twinhull, share_templates

pytest_plugins = (
    "tests.support.workers",
    "tests.support.launch",
    "tests.support.oci",
    "tests.support.callers",
    "tests.support.shim",
    "tests.support.registry",
    "tests.support.rootless",
    "tests.support.oci_user",
    "tests.support.images",
    "tests.support.machines",
    "tests.support.netlab",
    "tests.support.store",
    "tests.support.vm",
    "tests.support.wall",
    "tests.support.foreign",
    "tests.support.parity",
    "tests.support.imprint",
)

TESTS = Path(__file__).parent
PRIVILEGED = {"kernel", "oci", "security", "claims", "clients"}
IMAGES_TIMEOUT_S = 900  # the first test of a fresh machine makes images from Debian packages
IN_CI = os.environ.get("CI") == "true"

hypothesis.settings.register_profile("twinhull", deadline=None, print_blob=True)
hypothesis.settings.load_profile("twinhull")


def pytest_configure() -> None:
    """Shims become children of the test run, so that none can hide; signals reach what it starts.

    A shell that starts something in the background has it ignore SIGINT and SIGQUIT, and nohup SIGHUP: children would
    inherit that.
    """
    leaks.adopt_orphans()
    gc.set_threshold(
        100_000
    )  # what is parsed and collected stays: looking at it again and again is a third of the time
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the directory that it lies in: the directory is the kind."""
    for item in items:
        if TESTS in item.path.parents:
            kind = item.path.relative_to(TESTS).parts[0]
            item.add_marker(kind)
            if kind == "oci" and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(IMAGES_TIMEOUT_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Missing privileges are an error in CI and a stated skip elsewhere."""
    if PRIVILEGED.intersection(mark.name for mark in item.iter_markers()) and (lacks := privileges.missing()):
        text = f"needs {', '.join(lacks)}"
        if IN_CI:
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare the host before and after each privileged test; fixtures with a wider scope are in both looks."""
    kinds = PRIVILEGED.intersection(mark.name for mark in request.node.iter_markers())
    if not kinds:
        yield
        return
    before = leaks.look()
    yield
    left = leaks.wait_clean(before)
    assert not left, f"left behind on the host:\n{leaks.report(left)}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A state directory of the test's own."""
    path = tmp_path / "root"
    path.mkdir(0o700)
    return path


@pytest.fixture
def twinhull(root: Path, request: pytest.FixtureRequest, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """The real command on a state of its own; every workload is removed at the end."""
    command = Twinhull(root)
    share_templates(root, request)
    yield command
    command.remove_all()


@pytest.fixture
def faulty(root: Path, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """The same with the launcher that tests can kill at its fault points."""
    command = Twinhull(root, settings={"launcher": str(TEST_LAUNCHER)})
    yield command
    command.remove_all()
