"""What a check is made of: a claim, the evidence for or against it, and the verdict.

Promise: a verdict depends on its evidence only, so the same evidence gives the same verdict anywhere;
evidence with a gap is never judged.
"""

from __future__ import annotations

from twinhull.compare import figures, statistics
from twinhull.compare.statistics import Ratio
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Literal

    from twinhull.prove.session import Session

    Holds = Literal["holds", "in part", "not here", "not measured"]
    Side = Literal["vm", "container"]
    Observer = Callable[[Session], "Evidence"]
    Judge = Callable[["Evidence"], "Verdict"]

TOPICS = ("os", "startup", "isolation", "resources", "portability", "use-cases", "stacks")


# What a guest takes depends on what runs its instructions.
OF_A_GUEST = ("start_s", "work_s", "idle_percent", "memory_bytes", "copies_s", "moved_s", "chain_s")
RUN_BY = {
    "tcg": "The VM's figures are those of TCG, which translates each of its instructions; KVM would give others.",
    "kvm": "The VM's figures are those of KVM.",
    "": "What ran the VM's instructions could not be seen.",
}


class Ran(NamedTuple):
    """One thing that was done: a command as a shell takes it, or a file that was read, and what came out."""

    command: str
    said: str
    repeats: int = 1


class Evidence(NamedTuple):
    """What observers found.

    Attributes:
        facts: name -> text, as it was read; several words are separated by spaces.
        samples: name with its unit ("vm.start_s") -> one value a repeat, in seconds, bytes, per cent or a count.
        gap: why it could not be observed; "" if it could.
    """

    ran: tuple[Ran, ...]
    facts: Mapping[str, str]
    samples: Mapping[str, tuple[float, ...]]
    gap: str = ""

    def middle(self, key: str) -> float:
        """The median of one quantity."""
        return statistics.median(self.samples[key])

    def total(self, key: str) -> float:
        """The sum of all values of one quantity; 0 if there is none."""
        return sum(self.samples.get(key, ()))

    def shown(self, key: str, unit: str) -> str:
        """One quantity as people read it: 172 ms [165, 181]."""
        return figures.spread(statistics.summarise(self.samples[key]), unit)

    def ratio(self, first: str, second: str) -> Ratio:
        """How many times one quantity is another; where that means nothing, a ratio that is not shown."""
        found = statistics.compare(self.samples[first], self.samples[second])
        return found or Ratio(1.0, 1.0, 1.0, False, 0.0)

    def words(self, key: str) -> tuple[str, ...]:
        """A fact that is a list; () if it is missing."""
        return tuple(self.facts.get(key, "").split())


class Verdict(NamedTuple):
    """The answer of a check.

    Attributes:
        why: two or three sentences with this machine's figures; the reason, where it is not measured.
        otherwise: what would make it come out differently; "" where that is plain.
    """

    holds: Holds
    why: str
    otherwise: str = ""


class Claim(NamedTuple):
    """One sentence of the textbook.

    Attributes:
        refuted_by: the observation that would make it "not here".
        observers: what has to be observed; evidence of one run is shared between claims.
        judge: pure.
    """

    topic: str
    subject: Side
    sentence: str
    refuted_by: str
    observers: tuple[Observer, ...]
    judge: Judge


class Check(NamedTuple):
    """One claim after it was checked. `number` counts from 1 in the order of the table."""

    number: int
    claim: Claim
    evidence: Evidence
    verdict: Verdict


def gap(reason: str, ran: Iterable[Ran] = ()) -> Evidence:
    """Nothing was observed, for this reason."""
    return Evidence(tuple(ran), {}, {}, reason)


def merged(parts: Iterable[Evidence]) -> Evidence:
    """Put evidence together; what several observers did is listed once, and each gap is named."""
    ran: dict[Ran, None] = {}
    facts: dict[str, str] = {}
    samples: dict[str, tuple[float, ...]] = {}
    gaps: dict[str, None] = {}
    for part in parts:
        ran.update(dict.fromkeys(part.ran))
        facts.update(part.facts)
        samples.update(part.samples)
        gaps.update({part.gap: None} if part.gap else {})
    return Evidence(tuple(ran), facts, samples, "; ".join(gaps))


def judged(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a claim, with what gave the VM's figures if there are any; a gap is its own verdict."""
    if evidence.gap:
        return Verdict("not measured", evidence.gap)
    verdict = claim.judge(evidence)
    if not has_figures_of_a_guest(evidence):
        return verdict
    return verdict._replace(why=f"{verdict.why} {RUN_BY[evidence.facts.get('vm.accelerator', '')]}")


def has_figures_of_a_guest(evidence: Evidence) -> bool:
    """True if times, memory or processor time of a VM are among the samples."""
    return any(f"{side}.{quantity}" in evidence.samples for side in ("vm", "boot") for quantity in OF_A_GUEST)
