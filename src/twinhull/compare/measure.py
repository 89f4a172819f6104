"""Runs both isolations side by side and fills in the findings, one topic after the other.

Promise: the same image and limits on both sides, warm-ups thrown away, the order of each round left to
chance; a side that fails is a gap with its reason, and the other side is measured on. Everything that
was started is ended, also after an interruption.
"""

from __future__ import annotations

import select
import time

from twinhull.compare.session import ISOLATIONS, START_S, Session
from twinhull.compare.subject import MeasurementFailed, Service, Subject, Timing
from twinhull.engine import spares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from twinhull.compare.subject import Stream

WARM_UPS = 3
MINIMUM_ROUNDS = 3
NEVER_RAN = (125, 126, 127)  # twinhull failed, or the program could not be started
NOISE_REPEATS = 25
NOISE_STEPS = 60_000
FALLBACK = ("echo", "hi")
# What `run` says when a saved guest does not start.
INSTEAD = ("booting instead", "starting from the template instead")


def noise_samples() -> list[float]:
    """The same small work again and again: how much this machine varies by itself."""
    samples = []
    for _ in range(NOISE_REPEATS):
        start = time.perf_counter()
        total = 0
        for step in range(NOISE_STEPS):
            total += step
        samples.append(time.perf_counter() - start)
    return samples


def warm_up(session: Session, image: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Run each side a few times for nothing, and return the command that writes something.

    Without `wanted` the image's own command is taken, or an echo where that writes nothing. The
    container goes first: what it writes to stderr is its own, while a VM's start may have notices.
    """
    command = tuple(wanted)
    for name in ("container", "vm"):
        for subject in session.living(name):
            session.tell(f"warming up: {name}")
            if first_run(session, subject, image, command) == "silent" and not wanted:
                command = FALLBACK
                first_run(session, subject, image, command)
    for _ in range(WARM_UPS):
        for subject in session.living(*ISOLATIONS):
            run(session, subject, image, command)
    return command


def run(session: Session, subject: Subject, image: str, command: Sequence[str]) -> Timing:
    """One run of a program that is known by now."""
    return subject.run(image, command, session.service, timeout_s=START_S)


def first_run(session: Session, subject: Subject, image: str, command: Sequence[str]) -> Literal["ran", "silent", ""]:
    """Run a subject to see how its program behaves; "" if it fails again and again."""
    new = subject.name == "container"
    service = Service(("stdout", "stderr")) if new else session.service
    while subject.name not in session.findings.gaps:
        timing = subject.run(image, command, service, timeout_s=START_S)
        if timing.total_s is not None and timing.exit_code in NEVER_RAN:
            session.failed(subject.name, timing.complaint or f"exit status {timing.exit_code}")
            continue
        if new:
            session.service = behaviour(timing)
        return "ran" if timing.first_s(session.stream) is not None else "silent"
    return ""


def behaviour(timing: Timing) -> Service:
    """On which stream a program writes; one that is a service need not be waited for again."""
    stream: Stream = "stderr" if timing.stdout_s is None and timing.stderr_s is not None else "stdout"
    return Service((stream,), 0.0) if timing.total_s is None else Service((stream,))


def measure_startup(session: Session, image: str, command: Sequence[str]) -> None:
    """Rounds of one container and one VM from its template, with cold boots among them.

    When the time is up, the rounds that are still owed to the minimum each have a boot until that has its own.
    """
    effort = session.effort
    cold_rounds = set(session.chance.sample(range(effort.pairs), min(effort.cold, effort.pairs)))
    boots = 0
    for number in range(effort.pairs):
        late = session.spent(0.5)
        if late and min(number, boots) >= MINIMUM_ROUNDS:
            break
        session.tell(f"startup: round {number + 1} of {effort.pairs}")
        for subject in session.living(*ISOLATIONS):
            record(session, subject, run(session, subject, image, command))
        if number in cold_rounds or (late and boots < MINIMUM_ROUNDS):
            boots += 1
            for subject in session.living("vm_cold") if "vm" not in session.findings.gaps else ():
                record(session, subject, run(session, subject, image, command))


def measure_waiting(session: Session, image: str, command: Sequence[str]) -> None:
    """Starts that each find a guest in waiting; the one that the last of them leaves is let go of.

    Apart from the pairs: each start is followed by a second of work for the next, which would be in their times.
    """
    if "vm" in session.findings.gaps:
        return
    for subject in session.living("vm_spare"):
        run(session, subject, image, command)
        for number in range(session.effort.waiting):
            session.tell(f"a guest in waiting: {number + 1} of {session.effort.waiting}")
            if not spares.await_one(session.config):
                session.findings.gap("vm_spare.first_output_s", "none waited; under KVM there are none")
                break
            record(session, subject, run(session, subject, image, command))
    spares.let_go(session.config)


def record(session: Session, subject: Subject, timing: Timing) -> None:
    """Keep the times of one run, or why there are none."""
    findings, name, first = session.findings, subject.name, timing.first_s(session.stream)
    if timing.total_s is not None and timing.exit_code in NEVER_RAN:
        session.failed(name, timing.complaint or f"exit status {timing.exit_code}")
        return
    if first is None:
        silence = "it wrote nothing" if timing.total_s else f"no output within {START_S:.0f} s"
        session.failed(name, f"{silence}; {timing.complaint}" if timing.complaint else silence)
        return
    if any(text in timing.complaint for text in INSTEAD):
        session.failed(name, timing.complaint)  # what was timed is another kind of start
        return
    findings.add(f"{name}.first_output_s", first)
    if timing.total_s is None:
        findings.gap(f"{name}.total_s", "it goes on after its first output")
    else:
        findings.add(f"{name}.total_s", timing.total_s)


def measure_copies(session: Session, image: str, command: Sequence[str]) -> None:
    """Start many at once, and take the time until the last of them has written something."""
    findings = session.findings
    findings.copies = session.effort.copies
    for number in range(session.effort.copy_rounds):
        if number and session.spent(0.95):
            break
        for subject in session.living(*ISOLATIONS):
            key = f"{subject.name}.copies_s"
            session.tell(f"{findings.copies} copies at once ({subject.name})")
            try:
                findings.add(key, time_copies(session, subject, image, command))
            except MeasurementFailed as error:
                findings.gap(key, error.message)


def time_copies(session: Session, subject: Subject, image: str, command: Sequence[str]) -> float:
    """Seconds from the first start to the last first output.

    Raises:
        MeasurementFailed: one of them failed or wrote nothing.
    """
    began, count = time.perf_counter(), session.effort.copies
    runs = [subject.begin(image, command) for _ in range(count)]
    deadline = began + START_S
    while waiting := [one for one in runs if one.first_s(session.stream) is None and one.open]:
        if (left := deadline - time.perf_counter()) <= 0:
            break
        streams = {fd: one for one in waiting for fd in one.open}
        for fd in select.select(list(streams), [], [], left)[0]:
            streams[fd].read(0)
    timings = [one.wait(START_S, session.service) for one in runs]
    failed = [timing for timing in timings if timing.first_s(session.stream) is None or timing.exit_code in NEVER_RAN]
    if failed:
        raise MeasurementFailed(f"{len(failed)} of {count} failed: {failed[0].complaint or 'no output'}")
    moments = [one.began + (one.first_s(session.stream) or 0.0) for one in runs]
    return max(moments) - began
