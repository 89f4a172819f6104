"""Container or VM for this workload, from a table of rules that a reader can check.

Promise: it fails closed. A guest under TCG is never called a wall; where the only answer would be
an unsafe one, the answer is "stop" and what is missing.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    Choice = Literal["container", "vm", "stop"]


class Question(NamedTuple):
    """What is known of the workload and the machine. A measure of 0 means: not measured.

    Attributes:
        accelerator: kvm or tcg as proven by a guest; "" if no guest ran.
        untrusted: the user does not trust the code.
        other_kernel: it needs a kernel, module or architecture that the host's kernel is not.
        start_within_s: the longest start the user accepts.
    """

    workload: str
    accelerator: Literal["kvm", "tcg", ""] = ""
    container_runs: bool = True
    vm_runs: bool = True
    untrusted: bool = False
    other_kernel: bool = False
    start_within_s: float = 0.0
    vm_start_s: float = 0.0
    container_start_s: float = 0.0
    vm_memory_bytes: float = 0.0
    container_memory_bytes: float = 0.0


class Rule(NamedTuple):
    """One row of the table: the first rule that applies and chooses decides; the others explain."""

    name: str
    applies: Callable[[Question], bool]
    choice: Choice | None  # None: a reason only
    says: Callable[[Question], str]


class Advice(NamedTuple):
    """The answer, the rules that fired in their order, and what would change it."""

    choice: Choice
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]


RULES = (
    Rule(
        "untrusted code needs a wall that somebody promises",
        lambda q: q.untrusted and q.accelerator == "kvm" and q.vm_runs,
        "vm",
        lambda q: f"{q.workload} is not trusted, and KVM promises the wall around a guest",
    ),
    Rule(
        "untrusted code without such a wall stops",
        lambda q: q.untrusted,
        "stop",
        lambda q: f"{q.workload} is not trusted, and nothing here is a wall for it: {wall_missing(q)}",
    ),
    Rule(
        "another kernel is a guest's",
        lambda q: q.other_kernel and q.vm_runs,
        "vm",
        lambda q: f"{q.workload} needs a kernel that is not the host's",
    ),
    Rule(
        "another kernel without a guest stops",
        lambda q: q.other_kernel,
        "stop",
        lambda q: f"{q.workload} needs a kernel that is not the host's, and no guest runs here",
    ),
    Rule(
        "nothing runs",
        lambda q: not q.container_runs and not q.vm_runs,
        "stop",
        lambda q: f"{q.workload} ran neither as a container nor as a VM",
    ),
    Rule("only a VM runs", lambda q: not q.container_runs, "vm", lambda q: f"{q.workload} did not run as a container"),
    Rule("only a container runs", lambda q: not q.vm_runs, "container", lambda q: f"{q.workload} did not run as a VM"),
    Rule(
        "a start in time",
        lambda q: 0 < q.container_start_s <= q.start_within_s < q.vm_start_s,
        "container",
        lambda q: f"only the container starts within {q.start_within_s:g} s",
    ),
    Rule(
        "what needs no kernel of its own is cheaper without one",
        lambda q: True,
        "container",
        lambda q: f"{q.workload} needs no kernel of its own{cost(q)}",
    ),
    Rule(
        "TCG is no wall",
        lambda q: q.accelerator == "tcg",
        None,
        lambda q: "without KVM the VM is no stronger wall",
    ),
)


def wall_missing(question: Question) -> str:
    """What the user would have to bring."""
    if question.accelerator == "tcg":
        return "a container shares the host's kernel, and a guest under TCG is no security boundary; KVM is missing"
    return "a container shares the host's kernel, and no guest was proven to run under KVM"


def cost(question: Question) -> str:
    """What the VM would cost, in the measured numbers of this machine."""
    parts = []
    if question.vm_start_s > question.container_start_s > 0:
        parts.append(f"starts {question.vm_start_s / question.container_start_s:.1f} times as fast")
    if question.vm_memory_bytes > question.container_memory_bytes > 0:
        parts.append(f"takes 1/{question.vm_memory_bytes / question.container_memory_bytes:.0f} of the memory")
    return f"; a container {' and '.join(parts)}" if parts else ""


def advise(question: Question) -> Advice:
    """Go through the table in its order."""
    fired = [rule for rule in RULES if rule.applies(question)]
    deciding = next(rule for rule in fired if rule.choice)
    explaining = [rule for rule in fired if rule.choice is None and deciding.choice == "container"]
    rules = [deciding, *explaining]
    return Advice(
        deciding.choice or "stop",
        tuple(rule.name for rule in rules),
        tuple(rule.says(question) for rule in rules),
        tuple(changes(question, deciding.choice)),
    )


def changes(question: Question, choice: Choice | None) -> list[str]:
    """What would turn the answer round."""
    if choice == "container":
        wall = "code you do not trust" if question.accelerator == "kvm" else "code you do not trust, on KVM"
        return [wall, "a kernel or architecture that is not the host's"]
    if choice == "stop" and question.untrusted:
        return ["KVM on this machine"]
    return ["code you trust that runs on the host's kernel"] if choice == "vm" else []
