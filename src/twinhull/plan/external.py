"""A container that another OCI runtime makes: what its bundle says, and the plan around `create` and `start`. Pure.

Root, network and the groups of the workload are made as for every container; processes, mounts, limits and filters
are the runtime's affair. docs/decisions/external-runtime.md has the reasons.
"""

from __future__ import annotations

from twinhull.errors import UnsupportedSpec
from twinhull.plan import defaults, filters, seccomp
from twinhull.plan.compile import STDIN_NONE, Network, Root, root_ops
from twinhull.plan.ops import Op, Plan
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from twinhull.model import Facts

OCI_VERSION = "1.0.2"  # all that is used was there; crun 1.8 knows no later one
NEW_MOUNTS = 0x00020000
START, END = 1, 0  # hook op: when
TIMEOUT_MS = 30_000
ENVIRONMENT = f"{defaults.PATH}\0".encode()
ACTIONS = {number: name for name, number in filters.ACTIONS.items()}
OPERATORS = {number: name for name, number in filters.OPERATORS.items()}
VALUE_BITS = 0xFFFF


class Runtime(NamedTuple):
    """Whose container it is.

    Attributes:
        program: an absolute path.
        bundle: the directory of config.json; the runtime keeps its state in it, too.
        identity: what the container is called there.
    """

    program: str
    bundle: str
    identity: str

    @property
    def log(self) -> str:
        """Where it says what went wrong: a JSON object a line."""
        return f"{self.bundle}/runtime.log"

    def words(self, *command: str) -> bytes:
        """A command line as an op has it."""
        general = (self.program, "--root", f"{self.bundle}/runtime", "--log", self.log, "--log-format", "json")
        return "".join(f"{word}\0" for word in (*general, *command)).encode()


def external_spec(spec: dict[str, Any], facts: Facts, runtime: Runtime, network: Network) -> dict[str, Any]:
    """The spec as a runtime takes it that knows nothing of ours: its places, the filter that we have by default, and
    of capabilities those that there are to give, for others refuse what we leave out.

    Raises:
        UnsupportedSpec: what only our own launcher does.
    """
    linux = spec["linux"]
    if defaults.INIT_ANNOTATION in spec["annotations"]:
        raise UnsupportedSpec("--init: the first process of a container with --runtime is its own", hint="leave it out")
    if linux.get("uidMappings"):
        raise UnsupportedSpec("--userns private is not supported with --runtime", hint="leave one of them out")
    if spec.get("domainname"):
        raise UnsupportedSpec("--domainname is not supported with --runtime: many runtimes pass it over")
    own = any(op.name == "netns" for op in network.host)
    namespaces = [row for row in linux["namespaces"] if row["type"] != "network"]
    if own:
        namespaces.append({"type": "network", "path": f"{runtime.bundle}/netns"})
    changed = {**linux, "namespaces": namespaces}
    if "seccomp" not in linux and spec["annotations"].get(seccomp.ANNOTATION) != seccomp.UNCONFINED:
        changed["seccomp"] = default_section(spec["process"]["capabilities"]["bounding"])
    process = {**spec["process"], "capabilities": granted(spec["process"]["capabilities"], facts)}
    root = {**spec["root"], "path": f"{runtime.bundle}/rootfs"}
    return {**spec, "ociVersion": OCI_VERSION, "process": process, "root": root, "linux": changed}


def granted(sets: Mapping[str, list[str]], facts: Facts) -> dict[str, list[str]]:
    """The sets without what this machine does not have."""
    known = {f"CAP_{name}" for name, bit in defaults.CAPABILITY_NUMBERS.items() if facts.capabilities >> bit & 1}
    return {kind: [name for name in names if name in known] for kind, names in sets.items()}


def default_section(capabilities: list[str]) -> dict[str, Any]:
    """The default profile as linux.seccomp has it."""
    profile = seccomp.profile(capabilities)
    plain: dict[int, list[str]] = {}
    calls = []
    for rule in profile.rules:
        if not rule.comparisons:
            plain.setdefault(rule.action, []).append(rule.name)
            continue
        tests = [
            {"index": index, "op": OPERATORS[operator], "value": value, "valueTwo": second}
            for index, operator, value, second in rule.comparisons
        ]
        calls.append({"names": [rule.name], **action(rule.action), "args": tests})
    whole = [{"names": names, **action(number)} for number, names in plain.items()]
    default = action(profile.default)
    found = {"defaultAction": default["action"], "syscalls": whole + calls}
    return {**found, "defaultErrnoRet": default["errnoRet"]} if "errnoRet" in default else found


def action(number: int) -> dict[str, Any]:
    """An action, and the errno that goes with it."""
    name = ACTIONS[number & ~VALUE_BITS]
    return {"action": name, "errnoRet": number & VALUE_BITS} if name in filters.WITH_ERRNO else {"action": name}


def compile_external(
    spec: Mapping[str, Any], facts: Facts, root: Root, network: Network, runtime: Runtime, *, stdin: int = STDIN_NONE
) -> Plan:
    """Return the plan for a spec of `external_spec`'s.

    Args:
        stdin: one of STDIN_NONE, STDIN_CLIENT, STDIN_OPEN (the `stdin` op).
    """
    create = ("create", "--bundle", runtime.bundle, "--pid-file", f"{runtime.bundle}/pid", runtime.identity)
    start = runtime.words("start", runtime.identity)
    delete = runtime.words("delete", "--force", runtime.identity)
    child = (
        Op("namespaces", (NEW_MOUNTS,)),
        Op("private-mounts"),
        *root_ops(root, "host"),
        *terminal(spec["process"]),
        Op("stdin", (stdin,)),
        Op("hook", (START, runtime.program, start, ENVIRONMENT, TIMEOUT_MS, "")),
        Op("runtime", (runtime.program, runtime.bundle, runtime.words(*create), ENVIRONMENT, TIMEOUT_MS)),
    )
    groups = tuple(group_ops(spec["linux"]["cgroupsPath"], facts))
    end = Op("end-runtime", (END, runtime.program, delete, ENVIRONMENT, TIMEOUT_MS, ""))
    killed = (Op("kill-cgroup", (facts.cgroup2 + spec["linux"]["cgroupsPath"],)),) if facts.cgroup2 else ()
    removed = (Op("remove-cgroup", group.args) for group in groups)
    return Plan((*groups, *network.host), child, (end, *network.undo, *killed, *removed))


def terminal(process: Mapping[str, Any]) -> Iterator[Op]:
    """The size of a terminal that the runtime makes."""
    if process["terminal"]:
        size = process.get("consoleSize") or {"height": 0, "width": 0}
        yield Op("terminal", (size["height"], size["width"]))


def group_ops(path: str, facts: Facts) -> Iterator[Op]:
    """The groups that the runtime puts the container into: ours to freeze, to count and to enter by exec."""
    if facts.cgroup2:
        yield Op("cgroup2", (facts.cgroup2 + path,))
    for point in dict.fromkeys(point for _controller, point in facts.cgroup1):
        yield Op("cgroup1", (point + path,))
