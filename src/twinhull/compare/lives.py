"""Instances that are kept for a while: one more process in each, and their end by TERM.

Promise: an instance that a round starts ends with the round.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from twinhull.compare.session import Instances, Session
from twinhull.compare.subject import ENDS_ON_TERM, Idle, MeasurementFailed, Subject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = ("container", "vm", "docker", "podman", "crun")
TRUE = ("true",)
LIVES_END = 0.75  # share of the time


def measure_lives(session: Session, image: str) -> None:
    """Rounds of one instance of each subject: execs in turns, then the stops."""
    for number in range(session.effort.lives):
        if session.ends_early("lives", number, session.effort.lives, LIVES_END):
            break
        session.tell(f"exec and stop: round {number + 1} of {session.effort.lives}")
        with ExitStack() as stack:
            started = [(subject, start(session, stack, subject, image)) for subject in living(session)]
            kept = [(subject, idle) for subject, idle in started if idle is not None]
            for _ in range(session.effort.execs):
                for subject, idle in session.chance.sample(kept, len(kept)):
                    take(session, f"{subject.name}.exec_s", partial(subject.exec_s, idle, TRUE))
            for subject, idle in kept:
                take(session, f"{subject.name}.stop_s", partial(subject.stop_s, idle))


def living(session: Session) -> list[Subject]:
    """The subjects that have an instance to keep, without those whose instances do not start."""
    gaps = session.findings.gaps
    return [subject for subject in session.living(*KEPT) if f"{subject.name}.exec_s" not in gaps]


def start(session: Session, stack: ExitStack, subject: Subject, image: str) -> Idle | None:
    """Start an instance that ends on TERM, or say why there is none."""
    instances = stack.enter_context(Instances(subject))
    try:
        return instances.start(image, ENDS_ON_TERM)
    except MeasurementFailed as error:
        for quantity in ("exec_s", "stop_s"):
            session.findings.gap(f"{subject.name}.{quantity}", error.message)
        return None


def take(session: Session, key: str, measure: Callable[[], float]) -> None:
    """Add one sample, or why there is none."""
    if key in session.findings.gaps:
        return
    try:
        session.findings.add(key, measure())
    except MeasurementFailed as error:
        session.findings.gap(key, error.message)
