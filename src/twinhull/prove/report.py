"""How checks look: one block a claim of at most 100 columns, a summary, and one JSON document.

Promise: a command stands there as it was run; what is wrapped stays a command that a shell takes.
"""

from __future__ import annotations

import textwrap
from collections import Counter

from twinhull.compare import figures
from twinhull.host.machine import Machine
from twinhull.prove.evidence import TOPICS, Check, Claim, Ran

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from twinhull.prove.evidence import Holds

WIDTH = 100
INDENT = "    "
MARKS: dict[Holds, str] = {
    "holds": "= holds",
    "in part": "~ in part",
    "not here": "x not here",
    "not measured": "? not measured",
}
MARK_WIDTH = max(map(len, MARKS.values()))
SENTENCE_WIDTH = WIDTH - len(INDENT) - MARK_WIDTH - 2
COUNTED: dict[Holds, tuple[str, str]] = {
    "holds": ("holds", "hold"),
    "in part": ("in part", "in part"),
    "not here": ("not here", "not here"),
    "not measured": ("not measured", "not measured"),
}
COMMAND_WIDTH = WIDTH - len(INDENT) - 8  # room for the prompt, a backslash and the indent of what follows
SUBJECTS = {"vm": "VM", "container": "container"}


def heading(machine: Machine, settings: str) -> str:
    """The first lines: what this is, and where."""
    memory = figures.quantity(machine.memory_bytes, "B")
    where = f"{machine.processors} x {machine.processor}, {memory}, {machine.host.describe()}"
    text = f"Your textbook, checked on your laptop: {machine.system}, Linux {machine.kernel}; {where}"
    said = ", ".join(settings.splitlines())
    return "\n".join(
        [
            wrapped(text, ""),
            wrapped(f"Settings of the commands below: {said}; in cold.toml and elsewhere.toml vm_template = false", ""),
        ]
    )


def wrapped(text: str, indent: str = INDENT, later: str | None = None) -> str:
    """A paragraph within the width. Words that are too long for a line are broken: nothing is wider."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if later is None else later,
        break_on_hyphens=False,
    )


def title(topic: str) -> str:
    """What stands above a topic's claims."""
    return f"\n{topic.upper()}"


def headline(number: int, claim: Claim, mark: str = "") -> str:
    """The sentence with its number, the verdict at the right."""
    first, *rest = textwrap.wrap(claim.sentence, SENTENCE_WIDTH)
    lines = [f"{number:>2}  {first:{SENTENCE_WIDTH}}  {mark}".rstrip(), *(f"{INDENT}{line}" for line in rest)]
    return "\n".join(lines)


class Record:
    """Which commands a reader has seen, so that the same one is not shown twice."""

    def __init__(self) -> None:
        self.seen: dict[Ran, int] = {}

    def text(self, check: Check) -> str:
        """One claim: sentence, what was run, what came out, and what that means."""
        new = [ran for ran in check.evidence.ran if ran not in self.seen]
        known = sorted({self.seen[ran] for ran in check.evidence.ran if ran in self.seen})
        self.seen.update(dict.fromkeys(new, check.number))
        lines = [headline(check.number, check.claim, MARKS[check.verdict.holds]), *map(ran_text, new)]
        if known:
            lines.append(wrapped(f"{'and ' if new else ''}what was run for {', '.join(map(str, known))}"))
        return "\n".join([*lines, wrapped(f"> {check.verdict.why}", later=f"{INDENT}  ")])


def ran_text(ran: Ran) -> str:
    """A command behind a prompt, and below it what came out."""
    times = f" ({ran.repeats} times)" if ran.repeats > 1 else ""
    said = wrapped(f"{ran.said or 'nothing came out'}{times}", f"{INDENT}    ")
    return f"{command_text(ran.command)}\n{said}"


def command_text(command: str) -> str:
    """A command within the width: broken at spaces outside quotes, as a shell wants it; its own lines stay."""
    lines: list[str] = [""]
    for word in shell_words(command):
        first, *rest = word.split("\n")
        if lines[-1] and len(lines[-1]) + len(first) >= COMMAND_WIDTH:
            lines[-1] += " \\"
            lines.append(f"  {first}")
        else:
            lines[-1] += f" {first}" if lines[-1] else first
        lines += rest
    return "\n".join(f"{INDENT}{'  ' if number else '$ '}{line}" for number, line in enumerate(lines))


def shell_words(command: str) -> list[str]:
    """A command's words with their quotes."""
    words, quote = [""], ""
    for letter in command:
        if letter == " " and not quote:
            words.append("")
            continue
        if letter in "'\"":
            quote = letter if not quote else "" if letter == quote else quote
        words[-1] += letter
    return words


def summary(checks: Sequence[Check], took_s: float) -> str:
    """How many hold, and what would make the others come out differently."""
    counts = Counter(check.verdict.holds for check in checks)
    said = ", ".join(f"{n} {COUNTED[holds][n > 1]}" for holds in MARKS if (n := counts[holds]))
    lines = [f"\n{said}   ({len(checks)} claims, {took_s:.0f} s)"]
    if reasons := differently(checks):
        lines.append("What would make the others come out differently:")
        lines += [wrapped(f"{', '.join(map(str, numbers))}: {text}", later=f"{INDENT}  ") for text, numbers in reasons]
    return "\n".join(lines)


def differently(checks: Iterable[Check]) -> list[tuple[str, list[int]]]:
    """What would turn claims round that do not hold, with the numbers of those it would."""
    found: dict[str, list[int]] = {}
    for check in checks:
        if check.verdict.holds != "holds" and check.verdict.otherwise:
            found.setdefault(check.verdict.otherwise, []).append(check.number)
    return sorted(found.items(), key=lambda item: item[1])


def listing(claims: Iterable[tuple[int, Claim]]) -> str:
    """The table of claims with what would refute each."""
    lines: list[str] = []
    topic = ""
    for number, claim in claims:
        if claim.topic != topic:
            topic = claim.topic
            lines.append(title(topic) if lines else topic.upper())
        lines += [headline(number, claim, SUBJECTS[claim.subject]), wrapped(f"refuted if {claim.refuted_by}")]
    return "\n".join(lines)


def listing_json(claims: Iterable[tuple[int, Claim]]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [claim_json(number, claim) for number, claim in claims]


def claim_json(number: int, claim: Claim) -> dict[str, Any]:
    """What is known of a claim before it is checked."""
    return {
        "number": number,
        "topic": claim.topic,
        "subject": claim.subject,
        "sentence": claim.sentence,
        "refuted_by": claim.refuted_by,
    }


def document(
    checks: Sequence[Check], machine: Machine, *, settings: str, took_s: float, version: str, argv: Sequence[str]
) -> dict[str, Any]:
    """Everything as one JSON object, with raw samples and facts."""
    counts = Counter(check.verdict.holds for check in checks)
    return {
        "schema": 1,
        "version": version,
        "argv": list(argv),
        "took_s": round(took_s, 3),
        "settings": settings,
        "host": {**machine._asdict(), "host": machine.host._asdict()},
        "topics": [topic for topic in TOPICS if any(check.claim.topic == topic for check in checks)],
        "summary": {holds: counts[holds] for holds in MARKS},
        "claims": [check_json(check) for check in checks],
    }


def check_json(check: Check) -> dict[str, Any]:
    """One checked claim."""
    evidence = check.evidence
    return {
        **claim_json(check.number, check.claim),
        "verdict": check.verdict.holds,
        "why": check.verdict.why,
        "otherwise": check.verdict.otherwise,
        "ran": [ran._asdict() for ran in evidence.ran],
        "facts": dict(evidence.facts),
        "samples": {key: list(values) for key, values in evidence.samples.items()},
    }
