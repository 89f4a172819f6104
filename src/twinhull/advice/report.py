"""How advice looks: text of at most 100 columns, and the same content as JSON. Pure."""

from __future__ import annotations

import shlex
import textwrap
from datetime import UTC, datetime

from twinhull.advice.advise import Advice, Fired, document
from twinhull.advice.price import prices
from twinhull.advice.question import Abilities, Question
from twinhull.advice.unchecked import measuring
from twinhull.quantities import quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

WIDTH = 100
LABEL = 12  # columns of a weight
HEADS = {
    "container": "CONTAINER",
    "vm": "VIRTUAL MACHINE",
    "machine": "MACHINE (a full operating system)",
    "stop": "STOP",
}
SCHEMA = 1


def render(question: Question, advice: Advice, command: str, not_served: Iterable[str]) -> str:
    """The answer for people."""
    lines = [wrap(f"{HEADS[advice.choice]}: {question.workload}", "  ")]
    for row in advice.fired:
        lines += reason(row)
    lines.append(wrap(f"here         {machine(question.here)}", " " * 13))
    lines += cost_lines(question)
    lines += not_checked(advice)
    if advice.choice == "machine" and not question.measured.machine.start_s and not advice.not_checked:
        lines.append(wrap(f"  machine      not measured here: {measuring(question, 'machine')}", " " * 13))
    if advice.would_change:
        lines.append("Would change it")
        lines += [wrap(f"  {change}", "    ") for change in advice.would_change]
    lines += unserved(not_served)
    if command:
        lines += ["Run", *continued(command)]
    return "\n".join(lines)


def unserved(not_served: Iterable[str]) -> Iterator[str]:
    """What the command that is shown does not give."""
    if missing := ", ".join(not_served):
        yield wrap(f"! run has no flag for {missing}: it would start without, as if nobody had asked", "  ")


def reason(row: Fired) -> Iterator[str]:
    """A rule that fired: its weight, its sentence, what it costs not to follow it, and who says so."""
    label = "outweighed" if row.role == "outweighed" else row.weight
    source = f" [{row.source}]" if row.source else ""
    yield wrap(f"  {label:{LABEL - 1}}{row.sentence}{source}", " " * (LABEL + 1))
    if row.otherwise:
        yield wrap(f"{'':{LABEL + 1}}otherwise: {row.otherwise}", " " * (LABEL + 1))


def machine(here: Abilities) -> str:
    """What counts of this machine."""
    words = {"kvm": "KVM, proven by a guest", "tcg": "TCG, no wall", "": "KVM not proven"}[here.accelerator]
    parts = [f"{words} ({here.reason})" if here.reason else words]
    if here.free_memory_bytes:
        parts.append(f"{quantity(here.free_memory_bytes, 'B')} free")
    if here.bridge_ports >= 0:
        parts.append(f"{here.bridge_ports:,} ports of the bridge left")
    return "; ".join(parts)


def cost_lines(question: Question) -> Iterator[str]:
    """The measured numbers of this machine."""
    rows, measured = prices(question), question.measured
    if not rows:
        return
    under = f" under {measured.accelerator.upper()}" if measured.accelerator else ""
    when = f"{datetime.fromtimestamp(measured.when, UTC):%Y-%m-%d %H:%M}"
    other = "" if measured.own else f"; {question.workload} itself was never measured"
    yield wrap(f"Costs here, measured with {measured.image}{under} on {when} UTC{other}", "  ")
    width = max(len(name) for name, _ in rows)
    yield from (wrap(f"  {name:{width}}  {text}", " " * (width + 4)) for name, text in rows)


def not_checked(advice: Advice) -> Iterator[str]:
    """The wishes that nothing measured could answer."""
    yield from (wrap(f"! {row.sentence()}", "  ") for row in advice.not_checked)


def continued(command: str) -> Iterator[str]:
    """A command line over as many lines as it takes, each ended with a backslash but the last."""
    line = " "
    for word in map(shlex.quote, shlex.split(command)):
        if len(line) + 1 + len(word) > WIDTH - 2 and line.strip():
            yield f"{line} \\"
            line = "   "
        line += f" {word}"
    yield line


def wrap(text: str, indent: str) -> str:
    """Break a sentence at the width; what an image or a file says cannot write to the terminal."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    words = plain.lstrip()
    lead = plain[: len(plain) - len(words)]
    return textwrap.fill(words, WIDTH, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False)


def answer(question: Question, advice: Advice, command: str, not_served: Iterable[str]) -> dict[str, Any]:
    """The answer for programs: everything that was asked, and what came out."""
    measured = question.measured
    sides = {name: getattr(measured, name)._asdict() for name in ("container", "vm", "machine")}
    return {
        "schema": SCHEMA,
        "workload": question.workload,
        **document(advice),
        "command": command,
        "not_served": list(not_served),
        "costs": {
            "image": measured.image,
            "own": measured.own,
            "accelerator": measured.accelerator,
            "when": measured.when,
            "machine_apart": measured.machine_apart,
            **sides,
        },
        "wishes": question.wishes._asdict(),
        "needs": question.needs._asdict(),
        "image": question.packed._asdict(),
        "here": question.here._asdict(),
        "room": {name: [limit._asdict() for limit in found] for name, found in question.room._asdict().items()},
    }
