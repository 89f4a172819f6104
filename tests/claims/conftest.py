"""Every claim checked once on this machine, before the first test looks; the tests share what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import leaks, privileges
from tests.support.command import Twinhull
from twinhull.config import Config
from twinhull.prove import claims
from twinhull.prove.evidence import Check, Evidence, merged
from twinhull.prove.observe import costs, moves
from twinhull.prove.session import IMAGE, Effort, Session, Unobserved

# Enough for a rank test to tell two sides apart; `twinhull prove` has more pairs.
EFFORT = Effort(pairs=5, boots=3)
SLOWED = ("sh", "-c", "sleep 2; cat /proc/uptime")


class Found(NamedTuple):
    """The checks by number, and observations that were arranged to be of the other sort."""

    checks: dict[int, Check]
    slowed: Evidence  # starts of a program that was slowed on purpose
    on_host_network: Evidence  # a container that shares a namespace
    not_moved: Evidence  # an image that never came to the second place


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    """One state directory for all: the guest's kernel and the template are made once."""
    if privileges.missing():
        pytest.skip("needs what the kernel tests need")
    command = Twinhull(tmp_path_factory.mktemp("claims"))
    yield command
    command.remove_all()


@pytest.fixture(scope="session")
def found(command: Twinhull, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Observe everything, and end what that started."""
    config = Config(state=str(command.root / "state"), run=str(command.root / "run"))
    with Session(config, str(tmp_path_factory.mktemp("place")), lambda _: None, EFFORT) as session:
        checks = {check.number: check for check in claims.checks(session)}
        arranged = Found(checks, slowed(session), on_host_network(session), not_moved(session))
    leaks.reap()
    leaks.claim(command.root)
    return arranged


def slowed(session: Session) -> Evidence:
    """Starts of a container whose program waits, beside the starts that were measured."""
    words = ("run", "--rm", "--isolation", "container", IMAGE, *SLOWED)
    times = tuple(session.must(*words).took_s for _ in range(2))
    usual = session.evidence(costs.starts)
    return usual._replace(samples={**usual.samples, "container.start_s": times})


def on_host_network(session: Session) -> Evidence:
    """What claim 8 looks at, of a container that was given the host's network."""
    claim = claims.CLAIMS[7]
    shared = Session(session.config, session.place, session.tell)
    with shared:
        shared.kept["container"] = shared.start("container", "sleep", "60", flags=("--network", "host"))
        return shared.observe(claim.observers)


def not_moved(session: Session) -> Evidence:
    """A run where the image never was, as claim 15 looks at it."""
    place = Path(session.place) / "empty"
    place.mkdir()
    elsewhere = Session(session.config, str(place), session.tell)
    elsewhere.prefix = session.prefix
    before = session.observe((moves.saved, moves.loaded_elsewhere, moves.other_engines))
    try:
        return merged([before, moves.greeted(elsewhere, "container", ())])
    except Unobserved as error:  # it says so by its exit status, and that is a finding
        pytest.fail(error.message)
