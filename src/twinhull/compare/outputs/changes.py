"""--compare-with: what is different from an earlier run on this machine, beyond the noise of both.

A quantity has changed if three things agree: the ratio (now / before) shows a difference (see `statistics`), the
medians are further apart than the noise of both runs together, and a Mann-Whitney test says so after Holm's correction
for the number of quantities that are looked at. Where so few samples were taken that it never could, that is said.

Promise: two runs that cannot be compared are refused, with what differs.
"""

from __future__ import annotations

import math
from bisect import bisect_left

from twinhull.compare import figures, statistics
from twinhull.compare.outputs import quantities
from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Literal

    from twinhull.compare.outputs.document import Document

    Verdict = Literal["more", "less", "no change shown", "too few samples", "only before", "only now"]

SAME_MACHINE = ("processor", "processors", "architecture")
MEMORY_TOLERANCE = 0.05  # a kernel's own share of the memory differs between its versions
NOTED = ("system", "kernel")
JUST_PAST = 1 + 1e-9  # more than what scaling rounds away


class Change(NamedTuple):
    """One quantity then and now; `ratio` is now divided by before, `bounds` what its ends are. `p` is corrected.

    `resolution` is the smallest increase that would have been shown (0.09 = 9 %), None where none would.
    """

    name: str
    unit: str
    before: float | None
    after: float | None
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    resolution: float | None
    verdict: Verdict
    bounds: str = "interval"


def changes(old: Document, new: Document, source: str) -> dict[str, Any]:
    """The section `changes` of the new document.

    Raises:
        InvalidRequest: the two cannot be compared.
    """
    refuse([*of_machine(old["host"], new["host"]), *of_run(old, new)], source)
    noise = math.hypot(old["host"]["noise"] or 0.0, new["host"]["noise"] or 0.0)
    return {
        "with": source,
        "notes": list(notes(old, new)),
        "noise": noise,
        "quantities": [change._asdict() for change in compare(old["samples"], new["samples"], noise)],
    }


def refuse(differences: Sequence[str], source: str) -> None:
    """Stop if two runs differ in what they must not.

    Raises:
        InvalidRequest: they do.
    """
    if differences:
        hint = "compare with a run of the same workload, effort and accelerator on the same machine"
        raise InvalidRequest(f"{source} cannot be compared with this run: {'; '.join(differences)}", hint=hint)


def of_machine(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """How two machines differ, by what is known before anything is measured."""
    for name in SAME_MACHINE:
        if before[name] != after[name]:
            yield f"{name} {before[name]} then, {after[name]} now"
    below = [hypervisor_of(host) or "none" for host in (before, after)]
    if below[0] != below[1]:
        yield "the hypervisor below {} then, {} now".format(*below)
    if abs(before["memory_bytes"] / max(after["memory_bytes"], 1) - 1) > MEMORY_TOLERANCE:
        sizes = (figures.quantity(host["memory_bytes"], "B") for host in (before, after))
        yield "memory {} then, {} now".format(*sizes)


def hypervisor_of(host: Mapping[str, Any]) -> str:
    """What a machine is a guest of, from a document or as it was just read."""
    itself = host["host"]
    return str(itself["hypervisor"] if isinstance(itself, dict) else itself.hypervisor)


def of_run(old: Document, new: Document) -> Iterator[str]:
    """How two runs on one machine differ, so that their figures say nothing about each other."""
    kinds = [document["host"]["accelerator"] or "none" for document in (old, new)]
    if kinds[0] != kinds[1]:
        yield "accelerator {} then, {} now".format(*kinds)
    if repository(old) != repository(new):
        yield f"image {old['image']['reference']} then, {new['image']['reference']} now"
    if list(old["image"]["command"]) != list(new["image"]["command"]):
        commands = (" ".join(one["image"]["command"]) or "the image's own" for one in (old, new))
        yield "command {} then, {} now".format(*commands)
    if old.get("effort", "") != new.get("effort", ""):
        yield f"effort {old.get('effort', 'unknown')} then, {new.get('effort', 'unknown')} now"


def notes(old: Document, new: Document) -> Iterator[str]:
    """What differs and may be the reason of a change: another build of the image, another kernel or twinhull."""
    if old["image"]["digest"] != new["image"]["digest"]:
        yield f"the image is another: {old['image']['digest'][:19]} then, {new['image']['digest'][:19]} now"
    for name in NOTED:
        if old["host"][name] != new["host"][name]:
            yield f"{name}: {old['host'][name]} then, {new['host'][name]} now"
    if old["version"] != new["version"]:
        yield f"twinhull {old['version']} then, {new['version']} now"


def repository(document: Document) -> str:
    """The image's name without tag and digest: another build of the same image may be compared."""
    name, _, tag = document["image"]["reference"].partition("@")[0].rpartition(":")
    return str(name if name and "/" not in tag else document["image"]["reference"].partition("@")[0])


def compare(old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]], noise: float) -> list[Change]:
    """Every quantity of either run but the parts of others, in the order of the new one."""
    keys = [key for key in {**new, **old} if (old.get(key) or new.get(key)) and not quantities.is_part(key)]
    both = [key for key in keys if old.get(key) and new.get(key)]
    decidable = [
        key for key in both if statistics.smallest_p(len(old[key]), len(new[key])) * len(both) < statistics.SIGNIFICANT
    ]
    tests = {key: statistics.rank_test(old[key], new[key]) for key in decidable}
    corrected = holm({key: test.p for key, test in tests.items() if test is not None})
    count = len(corrected)
    return [of_key(key, old.get(key, ()), new.get(key, ()), corrected.get(key), noise, count) for key in keys]


def of_key(key: str, old: Sequence[float], new: Sequence[float], p: float | None, noise: float, tests: int) -> Change:
    """One quantity; `p` is None where too few samples were taken for any, and no increase would have been shown."""
    unit = quantities.split(key)[1].unit
    before, after = (statistics.median(values) if values else None for values in (old, new))
    ratio = statistics.compare(new, old)
    said = verdict(before, after, ratio, p, noise)
    if ratio is None:
        return Change(key, unit, before, after, None, None, None, p, None, said)
    least = None if p is None else resolution(old, new, ratio, noise, tests)
    if least is None and said == "no change shown":  # equal values among them, which the test can tell less of
        said = "too few samples"
    return Change(key, unit, before, after, ratio.value, ratio.low, ratio.high, p, least, said, ratio.bounds)


def resolution(
    old: Sequence[float], new: Sequence[float], ratio: statistics.Ratio, noise: float, tests: int
) -> float | None:
    """From which increase on samples that spread like these get the verdict "more", whatever the others show.

    The new ones are scaled until their median is the old one's, then further until all that a verdict asks for is
    there: the ends of a ratio grow with it, and the rank test changes only where two values pass each other.

    Args:
        tests: how many quantities are tested; Holm's correction asks for no more than so many times the p.
    """
    level = [value / ratio.value for value in new]
    passings = sorted(before / value for value in level if value > 0 for before in old)

    def is_told(factor: float) -> bool:
        test = statistics.rank_test([value * factor for value in level], old)
        return test is not None and test.effect > 0 and test.p * tests < statistics.SIGNIFICANT

    place = bisect_left(passings, True, key=lambda factor: is_told(factor * JUST_PAST))
    if place == len(passings):
        return None
    beyond = ratio.value / ratio.low if ratio.bounds == "interval" else 1.0  # of few values the rank test decides
    return max(passings[place] - 1, beyond - 1, noise)


def verdict(
    before: float | None, after: float | None, ratio: statistics.Ratio | None, p: float | None, noise: float
) -> Verdict:
    """What a quantity's figures say."""
    if before is None:
        return "only now"
    if after is None:
        return "only before"
    if p is None:
        return "too few samples"
    if p >= statistics.SIGNIFICANT or before == after:
        return "no change shown"
    beyond = ratio is None or (ratio.shown and max(ratio.value, 1 / ratio.value) - 1 > noise)
    if not beyond:
        return "no change shown"
    return "more" if after > before else "less"


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: the chance of any false alarm among all stays that of one test."""
    corrected: dict[str, float] = {}
    worst = 0.0
    for rank, (key, p) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(values) - rank)))
        corrected[key] = worst
    return corrected


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """For people: what this was compared with, each change, then the rest by what is said of it."""
    yield f"against {found['with']}; noise of both runs {found['noise']:.1%}"
    yield from found["notes"]
    others: dict[str, list[str]] = {}
    for change in found["quantities"]:
        if change["verdict"] in ("more", "less"):
            yield sentence(change)
        else:
            floor = "" if change["resolution"] is None else f" (from {percent(1 + change['resolution'])})"
            others.setdefault(change["verdict"], []).append(f"{change['name']}{floor}")
    for said, names in others.items():
        yield f"{said}: {', '.join(names)}"


def sentence(change: Mapping[str, Any]) -> str:
    """One change: vm.first_output_s: 170 ms to 262 ms, +51% [+47%, +55%] more."""
    before, after = (figures.quantity(change[name], change["unit"]) for name in ("before", "after"))
    ratio, low, high = (change[name] for name in ("ratio", "low", "high"))
    by = "" if ratio is None else f" {percent(ratio)} {figures.ends(percent(low), percent(high), change['bounds'])}"
    return f"{change['name']}: {before} to {after},{by} {change['verdict']}"


def percent(ratio: float) -> str:
    """A ratio as a difference: 1.31 is +31%."""
    return f"{ratio - 1:+.0%}"
