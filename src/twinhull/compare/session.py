"""One comparison under way: its subjects, what was found, how much is measured, and the clock.

Promise: instances that a block starts end with the block, also after an interruption.
"""

from __future__ import annotations

import random
import time

from twinhull.compare.findings import Findings
from twinhull.compare.run import Service
from twinhull.compare.subject import Idle, Subject
from twinhull.config import Config
from twinhull.host import facts
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from twinhull.compare.run import Stream
    from twinhull.host.stack import Layer

ISOLATIONS = ("vm", "container")
MAX_FAILURES = 3
ENOUGH = 4  # repeats of a stage, however long they take: with so many on each side a rank test can tell them apart
START_S = 60.0  # the longest start of one instance


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        pairs: rounds of starts, in each of which every subject starts once.
        minimum: so many of them there are at least, however long they take; other stages have ENOUGH.
        cold: rounds in which a guest boots as well.
        templates: starts from the template alone.
        lives: instances that are kept for execs and a stop; execs: in each of them.
        limit_s: stages end early at their share of it.
    """

    name: Literal["quick", "full"]
    pairs: int
    minimum: int
    cold: int
    templates: int
    lives: int
    execs: int
    instances: int
    copies: int
    copy_rounds: int
    idle_s: float
    limit_s: float


QUICK = Effort(
    "quick", pairs=10, minimum=10, cold=3, templates=6, lives=6, execs=2,
    instances=7, copies=5, copy_rounds=4, idle_s=2.0, limit_s=50.0,
)  # fmt: skip
FULL = Effort(
    "full", pairs=30, minimum=30, cold=30, templates=30, lives=30, execs=1,
    instances=7, copies=20, copy_rounds=6, idle_s=4.0, limit_s=900.0,
)  # fmt: skip


NOT_NATIVE = "the programs that try it are for this machine's processor, and the image is for another"


class Session:
    """One comparison: the subjects, what was found, and the clock."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        findings: Findings,
        effort: Effort,
        tell: Callable[[str], None],
        config: Config,
    ) -> None:
        self.subjects = {subject.name: subject for subject in subjects}
        self.findings = findings
        self.effort = effort
        self.tell = tell
        self.config = config
        self.chance = random.Random()
        self.service = Service()
        self.silent = False  # the workload ends without a byte and without an answer: only its end can be timed
        self.port = 0  # that the workload answers on; 0: none is known
        self.probe_image = ""
        self.layers: dict[str, tuple[Layer, ...]] = {}  # of subjects that ran before the others
        self.failures: dict[str, list[str]] = {}
        self.began = time.monotonic()
        self.apart_s = 0.0  # of stages that have a time of their own

    @property
    def native(self) -> bool:
        """True if the image is for this machine's processor: for others there is one probe, and no further program."""
        platform = self.findings.image.platform
        return not platform or facts.executes(platform)

    @property
    def stream(self) -> Stream:
        """The stream whose first byte counts; of a service that writes nothing, the one where it would."""
        return self.service.streams[0] if self.service.streams else "stdout"

    def living(self, *names: str) -> list[Subject]:
        """The subjects that have run so far, in an order left to chance."""
        gaps = self.findings.gaps
        found = [
            subject
            for name, subject in self.subjects.items()
            if name in names and name not in gaps and not (subject.kind == "vm" and "vm" in gaps)
        ]
        self.chance.shuffle(found)
        return found

    def every(self, *without: str) -> list[Subject]:
        """All subjects but these that have run so far, in an order left to chance."""
        return self.living(*(name for name in self.subjects if name not in without))

    def failed(self, subject: str, reason: str) -> None:
        """Count a failed run; one that fails again and again is a gap as a whole, and not tried any more."""
        reasons = self.failures.setdefault(subject, [])
        reasons.append(reason)
        if len(reasons) >= MAX_FAILURES:
            self.findings.gap(subject, reason)

    def ends_early(self, stage: str, done: int, wanted: int, share: float) -> bool:
        """True if a stage has to do with the rounds that it has, because its share of the time is used up."""
        if done < min(ENOUGH, wanted) or not self.spent(share):
            return False
        self.findings.gap(f"{stage}.rounds", f"for lack of time {done} of {wanted}")
        return True

    def took_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def spent(self, share: float) -> bool:
        """True if this share of the time is used up; stages that have a time of their own take none of it."""
        return self.took_s() - self.apart_s > self.effort.limit_s * share

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is measured in the block takes no time from the stages after it."""
        began = self.took_s()
        try:
            yield
        finally:
            self.apart_s += self.took_s() - began


class Instances:
    """Idle instances of one subject that end with the block they are used in."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.idle: list[Idle] = []

    def __enter__(self) -> Instances:
        return self

    def __exit__(self, *_: object) -> None:
        self.subject.stop([idle.name for idle in self.idle])

    def start(self, image: str, command: Sequence[str], *, kept: bool = False) -> Idle:
        """Start one more; see Subject.

        Raises:
            MeasurementFailed: it did not start.
        """
        idle = self.subject.start(image, command, kept=kept)
        self.idle.append(idle)
        return idle
