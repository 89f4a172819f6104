"""The process section of a spec: from rlimits to exec. Pure.

Order matters, and the kernel's rules give it: the working directory while root may still make it;
seccomp while CAP_SYS_ADMIN may load it without no_new_privs, else last; identity before capabilities
(setuid needs CAP_SETUID, and the launcher keeps the permitted set across it).
"""

from __future__ import annotations

from struct import pack

from twinhull.errors import UnsupportedSpec
from twinhull.model import Facts
from twinhull.plan.defaults import CAPABILITY_NUMBERS
from twinhull.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

RLIMITS = {
    name: number
    for number, name in enumerate(
        """CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO
        RTTIME""".split()
    )
}
OOM_OFFSET = 1000
INFINITY = (1 << 64) - 1


def process_ops(process: Mapping[str, Any], facts: Facts, *, seccomp: bytes = b"") -> tuple[Op, ...]:
    """Return the ops that turn the child into the process; `exec` is the last."""
    user = process["user"]
    no_new_privileges = bool(process.get("noNewPrivileges"))
    ops = [rlimit_op(limit) for limit in process.get("rlimits", ())]
    if (adjust := process.get("oomScoreAdj")) is not None:
        ops.append(Op("oom-score", (adjust + OOM_OFFSET,)))
    ops.append(Op("umask", (user.get("umask", 0o022),)))
    ops.append(Op("directory-of-work", (process["cwd"],)))
    if process.get("terminal"):
        size = process.get("consoleSize") or {}
        ops.append(Op("terminal", (size.get("height", 0), size.get("width", 0))))
    if seccomp and not no_new_privileges:
        ops.append(Op("seccomp", (seccomp,)))
    groups = user.get("additionalGids") or ()
    ops.append(Op("user", (user["uid"], user["gid"], pack(f"<{len(groups)}I", *groups))))
    ops.append(capability_op(process.get("capabilities") or {}, facts))
    if no_new_privileges:
        ops.append(Op("no-new-privileges"))
        if seccomp:
            ops.append(Op("seccomp", (seccomp,)))
    # Of a variable that is given twice the last value counts, whichever a program would look at.
    last = {variable.partition("=")[0]: variable for variable in process["env"]}
    ops += [Op("environment", (variable,)) for variable in last.values()]
    ops += [Op("argument", (word,)) for word in process["args"]]
    ops.append(Op("exec", (process["args"][0],)))
    return tuple(ops)


def rlimit_op(limit: Mapping[str, Any]) -> Op:
    """One resource limit; -1 means none."""
    number = RLIMITS.get(limit["type"].removeprefix("RLIMIT_"))
    if number is None:
        raise UnsupportedSpec(f"process.rlimits: unknown resource limit {limit['type']!r}")
    soft, hard = (INFINITY if limit[key] in (-1, INFINITY) else limit[key] for key in ("soft", "hard"))
    return Op("rlimit", (number, soft, hard))


def capability_op(sets: Mapping[str, Iterable[str]], facts: Facts) -> Op:
    """The five sets as bits, never more than the launcher itself may hold."""
    names = ("bounding", "effective", "permitted", "inheritable", "ambient")
    return Op("capabilities", tuple([capability_bits(sets.get(name, ()), facts) for name in names]))


def capability_bits(names: Iterable[str], facts: Facts) -> int:
    """Return the names as a bit set; what the kernel or our own bounding set lacks is left out."""
    bits = 0
    for name in names:
        number = CAPABILITY_NUMBERS.get(name.removeprefix("CAP_"))
        if number is None:
            raise UnsupportedSpec(f"unknown capability {name!r}")
        if number <= facts.last_capability:
            bits |= 1 << number
    return bits & facts.capabilities
