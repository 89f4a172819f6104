"""process.execCPUAffinity, and the processors that a container's processes have without it. Pure.

Who makes a container may be bound to some processors; its processes have all that their cpuset has, for that is what
limits them. The field is for `exec` alone, as runtime-spec wants it: `initial` until the process is in the container's
groups, `final` from then on.
"""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

MAX_PROCESSORS = 8192  # the kernel's CONFIG_NR_CPUS is no higher; launcher/ops_process.c
FIELD = "process.execCPUAffinity"
ALL_PROCESSORS = Op("affinity", (b"",))


def check_affinity(process: Mapping[str, Any]) -> None:
    """Refuse what is no list of processors.

    Raises:
        InvalidRequest: the message names the field.
    """
    for key in ("initial", "final"):
        processors((process.get("execCPUAffinity") or {}).get(key) or "", f"{FIELD}.{key}")


def first_affinity(process: Mapping[str, Any]) -> Iterator[Op]:
    """What `exec` does before there is a process."""
    if text := (process.get("execCPUAffinity") or {}).get("initial"):
        yield Op("first-affinity", (mask(processors(text, f"{FIELD}.initial")),))


def last_affinity(process: Mapping[str, Any]) -> Op:
    """What its process has in the end."""
    if text := (process.get("execCPUAffinity") or {}).get("final"):
        return Op("affinity", (mask(processors(text, f"{FIELD}.final")),))
    return ALL_PROCESSORS


def processors(text: str, field: str) -> set[int]:
    """The numbers in a list such as "0-3,7"."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not first.isdecimal() or bool(dash) != last.isdecimal():
            raise InvalidRequest(f"{field}: {text!r} is no list of processors, such as 0-3,7")
        begin, end = int(first), int(last or first)
        if begin > end or end >= MAX_PROCESSORS:
            raise InvalidRequest(f"{field}: {part.strip()!r} is no range of processors below {MAX_PROCESSORS}")
        found.update(range(begin, end + 1))
    return found


def mask(numbers: set[int]) -> bytes:
    """A bit for each, as sched_setaffinity(2) takes them."""
    return sum(1 << number for number in numbers).to_bytes(max(numbers) // 64 * 8 + 8, "little")
