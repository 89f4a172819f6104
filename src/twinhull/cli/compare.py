"""`twinhull compare`: virtual machine against container, measured on this machine, row by row."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

from twinhull import __version__
from twinhull.advice import advise
from twinhull.advice.measurements import Row, wanted
from twinhull.advice.question import Abilities, Cost, Measured, Packed, Question
from twinhull.cli.parser import REMAINDER
from twinhull.cli.progress import prepared
from twinhull.compare import footprint, image, inside, measure, probe, report, rows, statistics
from twinhull.compare.findings import SIDES, Findings
from twinhull.compare.session import NORMAL, QUICK, Session
from twinhull.compare.subject import CommandLine
from twinhull.engine import measurements
from twinhull.errors import HostUnfit
from twinhull.host import doctor, files, machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

DEFAULT_IMAGE = "twinhull/busybox"
MEMORY_FLAGS = ("--memory", "192m")  # with what a guest's kernel takes, the default size of a guest


def configure_compare(parser: Parser) -> None:
    """Flags of compare."""
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under a minute")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people, or with raw samples")
    parser.add_argument("image", nargs="?", default=DEFAULT_IMAGE, metavar="IMAGE", help="default: the embedded image")
    parser.add_argument("command", nargs=REMAINDER, metavar="-- CMD", help="instead of the image's command")


def run_compare(arguments: Arguments, config: Config) -> int:
    """Measure and print; without root, say what can be said and refuse the rest.

    Raises:
        HostUnfit: this machine cannot run workloads, or ran neither side.
    """
    here = machine.read_machine()
    output = Output(text=arguments.format == "text")
    output.show(report.heading(arguments.image, here))
    facts = doctor.examine(config.launcher, config.state)
    with prepared(config) as engine:
        if refusal := doctor.refusal(facts):
            output.show(report.without_root(facts, image.facts_without_root(engine, arguments.image)))
            raise refusal
        findings = Findings(image.image_facts(engine, arguments.image))
    with tempfile.TemporaryDirectory(prefix="twinhull-compare-") as place:
        effort = QUICK if arguments.quick else NORMAL
        session = Session(subjects(config, place), findings, effort, output.tell, config)
        with probe.loaded(config) as session.probe_image:
            compare(session, arguments, output, here)
    return 0


def subjects(config: Config, place: str) -> tuple[CommandLine, ...]:
    """The container, and the VM three times: from its template, as a guest that waited, and booting."""
    prefix = f"compare-{os.getpid()}"
    vm, container = (("--isolation", side, *MEMORY_FLAGS) for side in ("vm", "container"))
    kinds = {
        "vm": config._replace(vm_spare=False),
        "vm_spare": config._replace(vm_spare=True),
        "vm_cold": config._replace(vm_template=False),
    }
    guests = []
    for name, settings in kinds.items():
        path = f"{place}/{name}.toml"
        files.write(path, toml(settings).encode())
        guests.append(CommandLine(name, config, vm, prefix=prefix, environment=(f"TWINHULL_CONFIG={path}",)))
    return (CommandLine("container", config, container, prefix=prefix), *guests)


def toml(config: Config) -> str:
    """The configuration as the file that would set it."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in config._asdict().items()}
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def compare(session: Session, arguments: Arguments, output: Output, here: machine.Machine) -> None:
    """Print each row as soon as it is measured, then the recommendation.

    Raises:
        HostUnfit: neither side ran.
    """
    noise = statistics.noise(measure.noise_samples())
    done: list[rows.Row] = []
    told: set[str] = set()
    for row in measured_rows(session, arguments):
        news = sorted((SIDES.keys() & session.findings.gaps.keys()) - told)
        told.update(news)
        parts = [report.missing_side(side, session.findings.gaps[side]) for side in news]
        if not done:
            parts = [report.warning(session.findings), *parts, report.titles()]
        output.show("\n".join(filter(None, (*parts, report.render_row(row)))))
        done.append(row)
    advice = advise.advise(question(session.findings))
    findings, took_s = session.findings, session.took_s()
    ratio = findings.ratio("vm.first_output_s", "container.first_output_s")
    if failed := report.failures(session.failures):
        output.show(failed)
    output.show(report.footer(findings, advice, took_s, noise, ratio.resolution if ratio else None))
    remember(findings, session.config, here.kernel)
    if not output.text:
        document = report.document(findings, here, done, advice, took_s=took_s, noise=noise, version=__version__)
        print(json.dumps({**document, "failures": session.failures}, indent=2))


def measured_rows(session: Session, arguments: Arguments) -> Iterator[rows.Row]:
    """Measure topic after topic."""
    findings, name = session.findings, arguments.image
    wanted = tuple(arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command)
    inside.observe_inside(session)
    require_a_side(findings)
    findings.guest_kernel_bytes = image.guest_kernel_bytes(session.config.state)
    yield rows.system_row(findings)
    command = measure.warm_up(session, name, wanted)
    require_a_side(findings)
    findings.image = findings.image._replace(command=command)
    measure.measure_startup(session, name, command)
    measure.measure_waiting(session, name, command)
    yield rows.startup_row(findings)
    yield rows.isolation_row(findings)
    footprint.measure_footprint(session, name, command)
    yield rows.resources_row(findings)
    yield rows.portability_row(findings)
    measure.measure_copies(session, name, command)
    yield rows.use_cases_row(findings, advise.advise(question(findings)))


def require_a_side(findings: Findings) -> None:
    """Go on as long as one side runs.

    Raises:
        HostUnfit: neither does.
    """
    if {"vm", "container"} <= findings.gaps.keys():
        reasons = "; ".join(f"{side}: {findings.gaps[side]}" for side in ("container", "vm"))
        raise HostUnfit(f"{findings.image.reference} ran on neither side: {reasons}", hint="twinhull doctor")


def question(findings: Findings) -> Question:
    """What the advice needs to know of what was found."""

    def cost(side: str) -> Cost:
        start, memory = (findings.summary(f"{side}.{quantity}") for quantity in ("first_output_s", "memory_bytes"))
        return Cost(start.median if start else 0.0, memory.median if memory else 0.0)

    accelerator = findings.accelerator
    reference = findings.image.reference
    return Question(
        workload=reference,
        packed=Packed(known=True),
        here=Abilities(
            accelerator="kvm" if accelerator == "kvm" else "tcg" if accelerator == "tcg" else "",
            no_container=findings.gaps.get("container", ""),
            no_vm=findings.gaps.get("vm", ""),
        ),
        measured=Measured(reference, own=True, container=cost("container"), vm=cost("vm")),
    )


def remember(findings: Findings, config: Config, kernel: str) -> None:
    """Leave the medians for whoever asks for advice later."""
    medians = {key: statistics.median(values) for key, values in findings.samples.items() if values}
    measurements.remember(
        config,
        Row(
            findings.image.digest,
            findings.image.reference,
            findings.accelerator,
            kernel,
            time.time(),
            wanted(medians),
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
