"""`twinhull compare`: virtual machine against container, measured on this machine, row by row."""

from __future__ import annotations

import sys
import time

from twinhull import __version__
from twinhull.advice import advise
from twinhull.advice import measurements as known
from twinhull.advice.question import Abilities, Cost, Measured, Packed, Question
from twinhull.cli import outputs
from twinhull.cli.arguments import command_behind_image
from twinhull.cli.ending import undo_on_termination
from twinhull.cli.parser import REMAINDER, given
from twinhull.cli.progress import prepared
from twinhull.compare import (
    abandoned,
    beside,
    footprint,
    full,
    image,
    inside,
    lives,
    machines,
    measure,
    probe,
    report,
    rows,
    startup,
    statistics,
    subjects,
    untaken,
)
from twinhull.compare.findings import SIDES, Findings
from twinhull.compare.outputs import text
from twinhull.compare.root import own_place
from twinhull.compare.session import FULL, QUICK, Session
from twinhull.compare.startup_row import startup_row
from twinhull.compare.table import Row
from twinhull.engine import measurements
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import doctor, machine
from twinhull.oci import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

DEFAULT_IMAGE = "twinhull/busybox"
MAX_PORT = 65535


def configure_compare(parser: Parser) -> None:
    """Flags of compare."""
    parser.add_argument(
        "--quick", action="store_true", help="10 pairs, about a minute; the first time more: the default"
    )
    parser.add_argument("--full", action="store_true", help="30 pairs and more of everything, some minutes")
    parser.add_argument("--subjects", default=None, metavar="NAMES", help=f"of {', '.join(subjects.NAMES)}")
    parser.add_argument(
        "--port", type=int, default=None, help="where the workload answers; default: what the image exposes"
    )
    outputs.configure(parser)
    parser.add_argument(
        "image", nargs="?", type=given, default=None, metavar="IMAGE", help="default: the embedded image"
    )
    parser.add_argument("command", nargs=REMAINDER, metavar="-- CMD", help="instead of the image's command")


def run_compare(arguments: Arguments, config: Config) -> int:
    """Measure and print; without root, say what can be said and refuse the rest.

    Raises:
        HostUnfit, LaunchError: this machine cannot run workloads, or ran neither side; the image has no such program.
        InvalidRequest: flags that contradict each other, a subject or an image's name that is none,
            or what is to be made of the result is not possible.
    """
    check(arguments)
    asked = outputs.wanted(arguments)
    if asked.saved is not None:
        return outputs.deliver(asked, asked.saved)
    wanted = subjects.chosen(arguments.subjects or "")
    name = arguments.image or DEFAULT_IMAGE
    reference.parse(name)
    undo_on_termination()
    effort = FULL if arguments.full else QUICK
    here, noise = machine.read_machine(), statistics.noise(measure.noise_samples())
    output = Output(text=asked.live)
    host = {**here._asdict(), "host": here.host._asdict(), "noise": noise}
    output.show(text.heading(name, effort.name, host))
    facts = doctor.examine(config.launcher, config.state)
    with prepared(config) as engine:
        if refusal := doctor.refusal(facts):
            known = image.facts_without_root(engine, name)
            output.show(report.without_root(facts, known))
            if not asked.live:
                nothing = Findings(known, effort.name)
                nothing.argv = again(arguments, name)
                outputs.deliver(asked, unmeasured(nothing, refusal, here, noise))
            raise refusal
        abandoned.remove_all(engine)
        findings = Findings(image.image_facts(engine, name), effort.name)
        measure.require_program(engine, name, words_of(arguments))
        port = arguments.port or (0 if words_of(arguments) else image.exposed_port(engine, name))
    findings.argv = again(arguments, name)
    with (
        beside.announced("compare"),
        own_place(config.state) as place,
        subjects.opened(config, name, wanted, place, machine=slow_ones(arguments)) as found,
    ):
        findings.subjects = list(found.described)
        findings.gaps.update(found.gaps())
        for side in set(SIDES) - set(wanted):
            findings.gap(side, subjects.LEFT_OUT)
        session = Session(found.living, findings, effort, output.tell, config)
        session.port = port
        with probe.loaded(config, findings.image.platform) as session.probe_image:
            document = compare(session, arguments, output, here, noise)
    return outputs.deliver(asked, document)


def unmeasured(findings: Findings, refusal: HostUnfit, here: machine.Machine, noise: float) -> dict[str, Any]:
    """The result where nothing may run: the image and the machine, and a gap with the reason for each side."""
    findings.gaps = dict.fromkeys(SIDES, refusal.message)
    findings.limits = [refusal.message]
    advice = advise.advise(question(findings))
    document = report.document(findings, here, (), advice, took_s=0.0, noise=noise, version=__version__)
    return {**document, "failures": {}}


def check(arguments: Arguments) -> None:
    """Refuse what contradicts itself before anything runs.

    Raises:
        InvalidRequest: it does.
    """
    if arguments.quick and arguments.full:
        raise InvalidRequest("--quick and --full at once", hint="one of the two")
    words_of(arguments)
    if arguments.saved and (idle := idle_beside_a_result(arguments)):
        raise InvalidRequest(f"--from and {idle} at once", hint="--from measures nothing: one of the two")
    if arguments.port is not None and not 1 <= arguments.port <= MAX_PORT:
        raise InvalidRequest(f"no such port: {arguments.port}", hint=f"1 to {MAX_PORT}")
    if arguments.subjects is not None and not arguments.subjects.strip(" ,"):
        raise InvalidRequest("--subjects names nothing", hint=f"of {', '.join(subjects.NAMES)}; leave it out for all")


def idle_beside_a_result(arguments: Arguments) -> str:
    """What was given that says how to measure, which nothing does where the result is there; "" for nothing."""
    given = {
        "--quick": arguments.quick,
        "--full": arguments.full,
        "--subjects": arguments.subjects is not None,
        "--port": arguments.port is not None,
        f"IMAGE {arguments.image}": arguments.image,
    }
    return next((name for name, there in given.items() if there), "")


def slow_ones(arguments: Arguments) -> bool:
    """True if a full guest OS is to be started, which takes as long as all the rest of a quick look."""
    return arguments.full or "machine" in (arguments.subjects or "").split(",")


def words_of(arguments: Arguments) -> tuple[str, ...]:
    """The command that was given behind the image.

    Raises:
        InvalidRequest: it begins with a flag.
    """
    return command_behind_image("compare", arguments.command)


def again(arguments: Arguments, name: str) -> tuple[str, ...]:
    """The command that measures the same again."""
    flags = ["--full"] if arguments.full else []
    flags += ["--subjects", arguments.subjects] if arguments.subjects else []
    flags += ["--port", str(arguments.port)] if arguments.port else []
    words = words_of(arguments)
    return ("twinhull", "compare", *flags, name, *(("--", *words) if words else ()))


def compare(
    session: Session, arguments: Arguments, output: Output, here: machine.Machine, noise: float
) -> dict[str, Any]:
    """Print each row as soon as it is measured, then the recommendation; return the document.

    Raises:
        HostUnfit: neither side ran.
    """
    findings = session.findings
    beside.note(findings.limits, beside.others().items())
    with session.apart():
        machines.measure(session)
    full_os = findings.runs("machine")
    done: list[Row] = []
    told: set[str] = set()
    for row in measured_rows(session, arguments):
        news = sorted((SIDES.keys() & findings.gaps.keys()) - told)
        told.update(news)
        others = beside.note(findings.limits, beside.others().items())  # those that came meanwhile
        parts = [
            *(text.missing_side(side, findings.gaps[side]) for side in news),
            text.wrap(f"! {one}" for one in others),
        ]
        if not done:
            known = {"host": report.host_json(findings, here, noise), "limits": findings.limits, "gaps": findings.gaps}
            parts = [text.opening(known, machine=full_os)]
        output.show("\n".join(filter(None, (*parts, report.render_row(row, machine=full_os)))))
        done.append(row)
    untaken.note(session)
    advice = advise.advise(question(findings))
    took_s = session.took_s()
    document = report.document(findings, here, done, advice, took_s=took_s, noise=noise, version=__version__)
    document["failures"] = session.failures
    output.show(text.closing(document))
    remember(findings, session.config, here.kernel)
    return document


def measured_rows(session: Session, arguments: Arguments) -> Iterator[Row]:
    """Measure topic after topic."""
    findings, name = session.findings, session.findings.image.reference
    inside.observe_inside(session)
    require_a_side(findings)
    findings.guest_kernel_bytes = image.guest_kernel_bytes(session.config.state, findings.image.platform)
    yield rows.system_row(findings)
    command = measure.warm_up(session, name, words_of(arguments))
    require_a_side(findings)
    findings.image = findings.image._replace(command=command)
    startup.measure_startup(session, name, command)
    startup.measure_template(session, name, command)
    lives.measure_lives(session, name)
    yield startup_row(findings)
    yield rows.isolation_row(findings)
    footprint.measure_footprint(session, name, command, lambda: measure.measure_copies(session, name, command))
    full.measure(session, name)
    yield rows.resources_row(findings)
    yield rows.portability_row(findings)
    yield rows.use_cases_row(findings, advise.advise(question(findings)))


def require_a_side(findings: Findings) -> None:
    """Go on as long as one side runs.

    Raises:
        HostUnfit: neither does.
    """
    if {"vm", "container"} <= findings.gaps.keys():
        reasons = "; ".join(f"{side}: {findings.gaps[side]}" for side in ("container", "vm"))
        its_own = SIDES.keys() & findings.inside.keys()  # there the probe ran
        hint = f"twinhull run --rm {findings.image.reference} … shows it" if its_own else "twinhull doctor"
        raise HostUnfit(f"{findings.image.reference} ran on neither side: {reasons}", hint=hint)


def question(findings: Findings) -> Question:
    """What the advice needs to know of what was found."""

    def cost(side: str) -> Cost:
        quantities = (findings.start, "memory_bytes", "kernel_bytes")
        start, memory, kernel = (findings.summary(f"{side}.{quantity}") for quantity in quantities)
        used = (memory.median + (kernel.median if kernel else 0.0)) if memory else 0.0  # as advise counts it
        return Cost(start.median if start else 0.0, used)

    def missing(side: str) -> str:
        reason = findings.gaps.get(side, "")
        return "" if reason == subjects.LEFT_OUT else reason  # nobody looked whether it runs

    accelerator = findings.accelerator
    reference = findings.image.reference
    return Question(
        workload=reference,
        packed=Packed(known=True),
        here=Abilities(
            accelerator="kvm" if accelerator == "kvm" else "tcg" if accelerator == "tcg" else "",
            no_container=missing("container"),
            no_vm=missing("vm"),
        ),
        measured=Measured(reference, True, 0.0, "", cost("container"), cost("vm"), cost("machine")),
    )


def remember(findings: Findings, config: Config, kernel: str) -> None:
    """Leave the medians for whoever asks for advice later."""
    medians = {key: statistics.median(values) for key, values in findings.samples.items() if values}
    for name, weights in findings.weights.items():
        medians |= {f"{name}.{quantity}": value for quantity, value in weights.items()}
    measurements.remember(
        config,
        known.Row(
            findings.image.digest,
            findings.image.reference,
            findings.accelerator,
            kernel,
            time.time(),
            known.wanted(medians),
            findings.template_bytes,
        ),
    )


class Output:
    """Rows on stdout; on stderr one line that is written over on a terminal, and plain lines elsewhere."""

    def __init__(self, *, text: bool) -> None:
        self.text = text
        self.terminal = sys.stderr.isatty()
        self.last = ""

    def tell(self, what: str) -> None:
        """Say what is being done; rounds of the same kind are said once where lines stay."""
        if self.terminal:
            print(f"\r\033[K{what[: report.WIDTH - 1]}", end="", file=sys.stderr, flush=True)
            return
        kind = what.partition(":")[0] if ": round" in what or ": instance" in what else what
        if kind != self.last:
            print(f"… {kind}", file=sys.stderr, flush=True)
            self.last = kind

    def clear(self) -> None:
        """Take the progress line away."""
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def show(self, what: str) -> None:
        """Print a part of the table."""
        self.clear()
        if self.text:
            print(what, flush=True)
