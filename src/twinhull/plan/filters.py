"""linux.seccomp as rules for libseccomp: every action, argument, architecture and flag of runtime-spec 1.2. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

EPERM = 1
MAX_ERRNO, MAX_DATA = 4095, 0xFFFF  # of what a system call returns, and of what a tracer is told
# seccomp.h
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
OPERATORS = {
    name: number
    for number, name in enumerate(
        """SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT SCMP_CMP_MASKED_EQ""".split(), 1
    )
}
# seccomp(2)
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 | 16,  # with ESRCH, which alone goes together with a listener
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
NEW_LISTENER = 8
MAX_ARGUMENTS = 6

Comparison = tuple[int, int, int, int]  # argument, operator, value, second value


class Rule(NamedTuple):
    """One rule: all comparisons must hold."""

    action: int
    name: str
    comparisons: tuple[Comparison, ...]


class Profile(NamedTuple):
    """A filter.

    Attributes:
        architectures: libseccomp's names, beyond the processor's own.
        processor: the one that it is for, as images name it; "" is this machine's.
        known: calls that it names, also where they need no rule.
    """

    default: int
    architectures: tuple[str, ...]
    rules: tuple[Rule, ...]
    flags: int
    processor: str = ""
    known: tuple[str, ...] = ()


def parse(section: Mapping[str, Any]) -> Profile:
    """Return the profile of linux.seccomp.

    Raises:
        InvalidRequest: an unknown or impossible value; the message names its field.
    """
    default = action(section.get("defaultAction"), section.get("defaultErrnoRet"), "linux.seccomp.default")
    if section.get("defaultAction") == "SCMP_ACT_NOTIFY":
        raise InvalidRequest("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default action")
    rules = [
        rule
        for index, entry in enumerate(section.get("syscalls") or ())
        for rule in entry_rules(entry, default, f"linux.seccomp.syscalls[{index}]")
    ]
    architectures = [architecture(name) for name in section.get("architectures") or ()]
    actions = {section.get("defaultAction"), *(entry.get("action") for entry in section.get("syscalls") or ())}
    bits = flags(section, notifies="SCMP_ACT_NOTIFY" in actions)
    known = tuple(name for entry in section.get("syscalls") or () for name in entry["names"])
    return Profile(default, tuple(architectures), tuple(rules), bits, known=known)


def action(name: Any, errno: Any, field: str) -> int:
    """Return the value of an action; ERRNO without a number is EPERM."""
    shown = f"{field}Action" if field.endswith("default") else f"{field}.action"
    if name not in ACTIONS:
        raise InvalidRequest(f"{shown}: unknown action {name!r}")
    if errno is not None and name not in WITH_ERRNO:
        raise InvalidRequest(f"{shown}: {name} takes no errno")
    last = MAX_ERRNO if name == "SCMP_ACT_ERRNO" else MAX_DATA
    if errno is not None and errno > last:
        raise InvalidRequest(
            f"{field}{'ErrnoRet' if field.endswith('default') else '.errnoRet'}: {errno} is above {last}"
        )
    if name == "SCMP_ACT_ERRNO":
        return ACTIONS[name] | (EPERM if errno is None else int(errno))
    return ACTIONS[name] | int(errno or 0)


def entry_rules(entry: Mapping[str, Any], default: int, field: str) -> Iterator[Rule]:
    """The rules of one entry: what already happens by default needs none."""
    number = action(entry.get("action"), entry.get("errnoRet"), field)
    comparisons = [comparison(row, f"{field}.args[{index}]") for index, row in enumerate(entry.get("args") or ())]
    if not entry.get("names"):
        raise InvalidRequest(f"{field}.names: it must not be empty")
    if number == default:
        return
    if entry["action"] == "SCMP_ACT_NOTIFY" and "write" in entry["names"]:
        # Who makes the process writes as well, before the listener can hear of it.
        raise InvalidRequest(f"{field}.action: SCMP_ACT_NOTIFY cannot be used for the write syscall")
    arguments = [row[0] for row in comparisons]
    # libseccomp lets a rule test an argument once; as in other runtimes any of such tests suffices.
    alternatives = [(row,) for row in comparisons] if len(set(arguments)) < len(arguments) else [tuple(comparisons)]
    for name in entry["names"]:
        for chosen in alternatives:
            yield Rule(number, name, chosen)


def comparison(row: Mapping[str, Any], field: str) -> Comparison:
    """One test of an argument."""
    index, operator = row.get("index"), row.get("op")
    if not isinstance(index, int) or not 0 <= index < MAX_ARGUMENTS:
        raise InvalidRequest(f"{field}.index: {index!r} is not between 0 and 5")
    if operator not in OPERATORS:
        raise InvalidRequest(f"{field}.op: unknown operator {operator!r}")
    return index, OPERATORS[operator], row.get("value") or 0, row.get("valueTwo") or 0


def architecture(name: str) -> str:
    """SCMP_ARCH_X86_64 -> x86_64; whether libseccomp knows it shows when it is asked."""
    if not name.startswith("SCMP_ARCH_"):
        raise InvalidRequest(f"linux.seccomp.architectures: unknown architecture {name!r}")
    return name.removeprefix("SCMP_ARCH_").lower()


def flags(section: Mapping[str, Any], *, notifies: bool) -> int:
    """The flags of seccomp(2)."""
    bits, listener = 0, section.get("listenerPath") or ""
    for flag in section.get("flags") or ():
        if flag not in FLAGS:
            raise InvalidRequest(f"linux.seccomp.flags: unknown flag {flag!r}")
        bits |= FLAGS[flag]
    if notifies and not listener:
        raise InvalidRequest("linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs one")
    if section.get("listenerMetadata") and not listener:
        raise InvalidRequest("linux.seccomp.listenerMetadata: there is no listenerPath")
    if not notifies:
        return bits & ~FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]  # it is of a listener, and refused without one
    return bits | NEW_LISTENER
