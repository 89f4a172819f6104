"""Runs the subjects side by side: the noise before, the warm-up, many copies at once.

Promise: the same image and limits on both sides, warm-ups thrown away, the order of each round left to
chance; a side that fails is a gap with its reason, and the other side is measured on. Everything that
was started is ended, also after an interruption.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress

from twinhull.compare import abandoned
from twinhull.compare.run import AFTER_OUTPUT_S, Service, Timing
from twinhull.compare.session import ISOLATIONS, START_S, Session
from twinhull.compare.subject import MeasurementFailed, Subject
from twinhull.engine import Engine
from twinhull.errors import CommandNotExecutable, CommandNotFound, NotFound, TwinhullError
from twinhull.model import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from twinhull.compare.run import Stream

WARM_UPS = 3
COPIES_END = 0.95  # share of the time
NEVER_RAN = (125, 126, 127)  # twinhull failed, or the program could not be started
NOISE_REPEATS = 25
NOISE_STEPS = 60_000
SILENT = "it writes nothing: its first answer on a port is what is timed"
NO_BYTE = "it ran, but wrote nothing: the first byte cannot be timed"
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
    """Run each subject a few times for nothing, and return the command that is measured.

    Without `wanted` the image's own command is taken, or an echo where that writes nothing. The
    container goes first: what it writes to stderr is its own, while a VM's start may have notices.
    """
    command = tuple(wanted)
    outcomes = []
    for name in ("container", "vm"):
        for subject in session.living(name):
            session.tell(f"warming up: {name}")
            outcomes.append(first_run(session, subject, image, command))
            if outcomes[-1] == "silent" and not wanted:
                command = FALLBACK
                session.findings.exit_codes.clear()
                first_run(session, subject, image, command)
    session.silent = bool(wanted) and next(filter(None, outcomes), "") == "silent"
    if not session.service.streams:
        for subject in session.living("podman", "crun", "plain"):
            session.findings.gap(subject.name, "the workload writes nothing, and here it cannot be asked on its port")
    for _ in range(WARM_UPS):
        for subject in session.every("vm_template", "vm_cold"):  # a template was booted a moment ago
            session.tell(f"warming up: {subject.name}")
            if reason := refusal(session, subject, image, command):
                session.findings.gap(subject.name, reason)
    return command


def require_program(engine: Engine, image: str, command: Sequence[str]) -> None:
    """Start a command that was given once, in a container, and end it.

    Where no container runs, nothing is known yet.

    Raises:
        CommandNotFound, CommandNotExecutable: the image has no such program; before anything was measured.
    """
    if not command:
        return
    request = Request(image, tuple(command), network="none", remove=True, labels=(abandoned.label(),))
    try:
        instance, conversation = engine.run_attached(request)
    except (CommandNotFound, CommandNotExecutable):
        raise
    except TwinhullError:
        return
    conversation.close()
    with suppress(NotFound):  # it has ended by itself
        engine.remove(instance.id, force=True)


def refusal(session: Session, subject: Subject, image: str, command: Sequence[str]) -> str:
    """Run a subject once; why a reference cannot run the image, at once. What fails of ours is counted later."""
    try:
        reason = failure(session, run(session, subject, image, command))
    except TwinhullError as error:
        reason = error.message
    return reason if subject.kind == "reference" else ""


def failure(session: Session, timing: Timing) -> str:
    """Why a run gives no figures; "" if it does."""
    if timing.total_s is not None and timing.exit_code in NEVER_RAN:
        return timing.complaint or f"exit status {timing.exit_code}"
    if any(text in timing.complaint for text in INSTEAD):
        return timing.complaint  # what was timed is another kind of start
    if session.silent and timing.total_s is not None:
        return ""
    if timing.first_s(session.stream) is None and timing.answer_s is None:
        silence = "it wrote nothing" if timing.total_s else f"no output within {START_S:.0f} s"
        return timing.complaint or silence
    return ""


def run(session: Session, subject: Subject, image: str, command: Sequence[str]) -> Timing:
    """One run of a program that is known by now."""
    return subject.run(image, command, session.service, timeout_s=START_S)


def first_run(session: Session, subject: Subject, image: str, command: Sequence[str]) -> Literal["ran", "silent", ""]:
    """Run a subject to see how its program behaves; "" if it fails again and again."""
    new = subject.name == "container"
    service = Service(("stdout", "stderr"), port=session.port) if new else session.service
    while subject.name not in session.findings.gaps:
        timing = subject.run(image, command, service, timeout_s=START_S)
        if timing.total_s is not None and timing.exit_code in NEVER_RAN:
            session.failed(subject.name, timing.complaint or f"exit status {timing.exit_code}")
            continue
        if timing.total_s is not None and timing.exit_code:
            session.findings.exit_codes[subject.name] = timing.exit_code
        if new:
            session.service = behaviour(timing, session.port)
        return "ran" if timing.first_s(session.stream) is not None or timing.answer_s is not None else "silent"
    return ""


def behaviour(timing: Timing, port: int = 0) -> Service:
    """On which stream a program writes, and whether it answers; a service need not be waited for again."""
    stream: Stream = "stderr" if timing.stdout_s is None and timing.stderr_s is not None else "stdout"
    patience_s = AFTER_OUTPUT_S if timing.total_s is not None else 0.0
    if timing.answer_s is None:
        return Service((stream,), patience_s)
    writes = timing.first_s(stream) is not None
    return Service((stream,) if writes else (), patience_s, port, both=writes)


def measure_copies(session: Session, image: str, command: Sequence[str]) -> None:
    """Start many at once, and take the time until the last of them has written something."""
    findings = session.findings
    findings.copies = session.effort.copies
    for number in range(session.effort.copy_rounds):
        if session.ends_early("copies", number, session.effort.copy_rounds, COPIES_END):
            break
        for subject in session.living(*ISOLATIONS):
            key = f"{subject.name}.copies_s"
            if session.silent or not session.service.streams:
                findings.gap(key, NO_BYTE if session.silent else SILENT)
                continue
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
