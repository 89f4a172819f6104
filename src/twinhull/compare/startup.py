"""Starts: rounds in which every subject starts once, in an order left to chance, each start with all its clocks.

Promise: a start of another kind than was asked for, or that failed, gives no sample.
"""

from __future__ import annotations

from twinhull.compare import clocks
from twinhull.compare.measure import NO_BYTE, SILENT, failure, run
from twinhull.compare.run import Timing
from twinhull.compare.session import Session
from twinhull.compare.subject import Subject
from twinhull.engine import spares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MINIMUM_BOOTS = 3
NO_IMPRINT = "it is how the VM starts anyway: no imprint is made under KVM, without root or with vm_spare = false"
STARTS_END, TEMPLATES_END = 0.5, 0.6  # shares of the time


def measure_startup(session: Session, image: str, command: Sequence[str]) -> None:
    """Rounds of all subjects, with boots among them. What a VM starts from is made before.

    When the time is up, the rounds that are still owed to the minimum each have a boot until that has its own.
    """
    spares.await_one(session.config)
    effort = session.effort
    cold_rounds = set(session.chance.sample(range(effort.pairs), min(effort.cold, effort.pairs)))
    boots = 0
    for number in range(effort.pairs):
        late = session.spent(STARTS_END)
        if late and number >= effort.minimum and boots >= min(MINIMUM_BOOTS, effort.cold):
            break
        session.tell(f"startup: round {number + 1} of {effort.pairs}")
        boot = number in cold_rounds or (late and boots < MINIMUM_BOOTS)
        boots += boot
        for subject in session.every("vm_template", *(() if boot else ("vm_cold",))):
            record(session, subject, run(session, subject, image, command))


def measure_template(session: Session, image: str, command: Sequence[str]) -> None:
    """Starts from the template alone, which are the usual ones where there is no imprint."""
    for subject in session.living("vm_template"):
        if not spares.is_imprinted(session.config):
            session.findings.gap(subject.name, NO_IMPRINT)
            continue
        run(session, subject, image, command)
        for number in range(session.effort.templates):
            if session.ends_early("templates", number, session.effort.templates, TEMPLATES_END):
                break
            session.tell(f"the template alone: {number + 1} of {session.effort.templates}")
            record(session, subject, run(session, subject, image, command))


def record(session: Session, subject: Subject, timing: Timing) -> None:
    """Keep the clocks of one run, or why there are none."""
    if reason := failure(session, timing):
        session.failed(subject.name, reason)
        return
    findings, name, first = session.findings, subject.name, timing.first_s(session.stream)
    if first is not None:
        findings.add(f"{name}.first_output_s", first)
    else:
        findings.gap(f"{name}.first_output_s", NO_BYTE if session.silent else SILENT)
    if timing.answer_s is not None:
        findings.add(f"{name}.healthy_s", timing.answer_s)
    if timing.total_s is None:
        findings.gap(f"{name}.total_s", "it goes on after its start")
    else:
        findings.add(f"{name}.total_s", timing.total_s)
    moments = timing.moments(session.stream)
    for quantity, moment in clocks.clocks(moments).items():
        findings.add(f"{name}.{quantity}", moment)
    for phase, seconds in clocks.phases(moments).items():
        findings.add(clocks.sample_key(name, phase), seconds)
