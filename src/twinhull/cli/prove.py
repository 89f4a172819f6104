"""`twinhull prove`: what a textbook says about virtual machines and containers, checked on this machine.

Exit codes: 0 every claim was measured, whatever came out; 4 one was not, and its reason is said.
"""

from __future__ import annotations

import sys
import time

from twinhull import __version__
from twinhull.cli.ending import undo_on_termination
from twinhull.cli.parser import given
from twinhull.cli.render import document
from twinhull.compare import abandoned, beside
from twinhull.engine import Engine
from twinhull.errors import InvalidRequest
from twinhull.host import doctor, files, machine
from twinhull.prove import claims, report
from twinhull.prove.evidence import TOPICS, Check
from twinhull.prove.session import Session, settings_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.prove.evidence import Holds

NOT_MEASURED = 4
ANSWERS: dict[str, Holds] = {"h": "holds", "p": "in part", "n": "not here"}
QUESTION = "    [h] holds, [p] in part, [n] not here, [q] enough? "


def configure_prove(parser: Parser) -> None:
    """Flags of prove."""
    add = parser.add_argument
    add("--quiz", action="store_true", help="ask for your answer first, then measure; needs a terminal")
    add("--list", action="store_true", help="the claims and what would refute each, without measuring")
    add("--format", choices=("text", "json"), default="text", help="for people, or with facts and raw samples")
    add(
        "topic",
        nargs="?",
        type=given,
        default=None,
        metavar="TOPIC",
        help=f"one of {', '.join(TOPICS)}; all without one",
    )


def run_prove(arguments: Arguments, config: Config) -> int:
    """List, ask or check.

    Raises:
        InvalidRequest: no such topic, or a quiz without a terminal.
        HostUnfit: this machine cannot run workloads.
    """
    topic: str = arguments.topic or ""
    if topic and topic not in TOPICS:
        raise InvalidRequest(f"prove: no topic {topic!r}", hint=f"one of {', '.join(TOPICS)}")
    if arguments.list:
        listed = claims.chosen(topic)
        as_json = arguments.format == "json"
        print(document(report.listing_json(listed)) if as_json else report.listing(listed))
        return 0
    if arguments.quiz:
        check_quiz(arguments.format)
    if refusal := doctor.refusal(doctor.examine(config.launcher, config.state)):
        raise refusal
    undo_on_termination()
    progress = Progress()
    with Engine(config) as engine:
        abandoned.remove_all(engine)
    with beside.announced("prove"), abandoned.scratch("prove") as place:
        with Session(config, place, progress.tell) as session:
            if arguments.quiz:
                return quiz(session, progress, topic)
            return prove(session, progress, topic, as_json=arguments.format == "json")


def check_quiz(form: str) -> None:
    """Refuse a quiz that nobody could answer.

    Raises:
        InvalidRequest: no terminal, or JSON.
    """
    if form == "json":
        raise InvalidRequest("prove --quiz talks to people, not to programs", hint="leave out --format json or --quiz")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidRequest("prove --quiz asks questions: it needs a terminal", hint="twinhull prove, without --quiz")


def prove(session: Session, progress: Progress, topic: str, *, as_json: bool) -> int:
    """Check claim after claim; print each as soon as it is measured."""
    began = time.monotonic()
    here = machine.read_machine()
    settings = files.read(f"{session.place}/{settings_file('')}").decode()
    if not as_json:
        print(report.heading(here, settings), flush=True)
    done = list(shown(session, progress, topic, quiet=as_json))
    took_s = time.monotonic() - began
    if as_json:
        argv = ["twinhull", "prove", *([topic] if topic else []), "--format", "json"]
        print(document(report.document(done, here, settings=settings, took_s=took_s, version=__version__, argv=argv)))
    else:
        print(report.summary(done, took_s))
    return NOT_MEASURED if any(check.verdict.holds == "not measured" for check in done) else 0


def shown(session: Session, progress: Progress, topic: str, *, quiet: bool) -> Iterator[Check]:
    """The checks, each printed unless `quiet`."""
    record, last = report.Record(), ""
    for check in claims.checks(session, topic):
        progress.clear()
        if not quiet:
            if check.claim.topic != last:
                print(report.title(check.claim.topic))
            print(record.text(check), flush=True)
        last = check.claim.topic
        yield check


def quiz(session: Session, progress: Progress, topic: str) -> int:
    """Ask first, then measure; it ends with the score, also when the user has enough."""
    record, score = report.Record(), Score()
    print("Does the sentence hold on this machine? Say what you think; then it is measured.")
    try:
        for number, claim in claims.chosen(topic):
            print(f"\n{report.headline(number, claim)}")
            if (answer := asked()) is None:
                break
            check = claims.check(session, number, claim)
            progress.clear()
            print(record.text(check))
            print(f"    {score.count(answer, check.verdict.holds)}", flush=True)
    except (EOFError, KeyboardInterrupt):
        progress.clear()
        print()
    print(f"\n{score.text()}")
    return 0


def asked() -> Holds | None:
    """What the user thinks; None if it is enough.

    Not by input(): a Ctrl-C that comes between its prompt and its read is seen only after the next line.
    """
    while True:
        print(QUESTION, end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        word = line.strip().lower()[:1]
        if word in ANSWERS:
            return ANSWERS[word]
        if word == "q":
            return None


class Score:
    """How often the user was right; what could not be measured does not count."""

    def __init__(self) -> None:
        self.right = 0
        self.asked = 0

    def count(self, answer: Holds, found: Holds) -> str:
        """Count one answer and say what it was worth."""
        if found == "not measured":
            return "Not measured: this one does not count."
        self.asked += 1
        self.right += answer == found
        return f"Right. {self.text()}" if answer == found else f"You said: {answer}. Measured: {found}. {self.text()}"

    def text(self) -> str:
        """The score so far."""
        return f"{self.right} of {self.asked} right."


class Progress:
    """What is being done: a line on stderr that is written over, on a terminal only."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()

    def tell(self, what: str) -> None:
        """Say it."""
        if self.terminal:
            print(f"\r\033[K… {what[: report.WIDTH - 3]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
