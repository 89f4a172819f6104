"""The figures that a subject has not although it ran: each is a gap with its reason.

Promise: when `note` has returned, every quantity of every subject that ran has samples or a gap.
"""

from __future__ import annotations

from twinhull.compare.findings import Findings
from twinhull.compare.outputs.quantities import QUANTITIES
from twinhull.compare.session import Session
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

WEIGHED = ("memory_bytes", "kernel_bytes", "disk_bytes", "idle_percent")
REFERENCES = ("docker", "podman", "crun", "plain")
NOT_SEEN = "none of its runs showed it"


class Rule(NamedTuple):
    """Why subjects have not these quantities."""

    subjects: tuple[str, ...]
    quantities: tuple[str, ...]
    reason: str


RULES = (
    Rule(
        ("vm_template", "vm_cold"),
        ("exec_s", "stop_s", "copies_s", *WEIGHED),
        "it is another start of the VM: measured of the usual one",
    ),
    Rule(("vm", "vm_template"), ("kernel_s",), "no kernel boots where a guest starts from a template; vm_cold has it"),
    Rule(("container", *REFERENCES), ("kernel_s", "init_s"), "no kernel boots, and nothing comes before the workload"),
    Rule(REFERENCES, ("spawned_s", "ready_s", "clean_s"), "only twinhull's own command writes its steps down"),
    Rule(("docker", "podman", "crun"), ("copies_s", *WEIGHED), "only its starts, exec and stop are compared"),
    Rule(("plain",), ("exec_s", "stop_s", "copies_s", *WEIGHED), "only its starts are compared"),
    Rule(("podman", "crun"), ("healthy_s",), "it has no network here, so no port of it can be asked"),
    Rule(("plain",), ("healthy_s",), "its port would be the host's, where any other program may answer"),
    Rule(("machine",), ("clean_s",), "it is kept when it has stopped"),
)


def note(session: Session) -> None:
    """Put the reason of each figure that was not taken among the gaps."""
    findings = session.findings
    for key in missing(findings):
        findings.gap(key, why(findings, key, unanswered(session)))


def missing(findings: Findings) -> Iterator[str]:
    """Each quantity without samples, of the subjects that ran."""
    for subject in findings.subjects:
        if findings.runs(subject.name) and not (subject.kind == "vm" and "vm" in findings.gaps):
            keys = (f"{subject.name}.{quantity.key}" for quantity in QUANTITIES)
            yield from (key for key in keys if key not in findings.samples)


def why(findings: Findings, key: str, no_answer: str) -> str:
    """The reason of one figure: of the subject's kind, else of its workload, else that of its start."""
    subject, _, quantity = key.partition(".")
    for rule in RULES:
        if subject in rule.subjects and quantity in rule.quantities:
            return rule.reason
    if quantity == "healthy_s" and no_answer:
        return no_answer
    return findings.gaps.get(f"{subject}.{findings.start}", NOT_SEEN)


def unanswered(session: Session) -> str:
    """Why the workload was asked on no port, or answered on none; "" if it did."""
    if not session.port:
        return "no port to ask is known; --port names one"
    return "" if session.service.port else f"nothing answered on port {session.port}"
