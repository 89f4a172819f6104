"""An OCI bundle as a virtual machine: what its guest does, and the process of the host that stands for it. Pure.

The root and every directory that the bundle binds are shared with the guest; all other file systems are its own
kernel's. What an OCI caller sees, signals and limits is a process of the host: the stand-in, in the container's network
namespace and cgroups, where QEMU is as well.

Promise: what a virtual machine cannot honour is an error that names its field.
"""

from __future__ import annotations

from posixpath import normpath

from twinhull.errors import UnsupportedSpec
from twinhull.model import Facts, Volume
from twinhull.plan.bundle import Bundle, await_hooks, check_process, isolation, nodes, process, refuse
from twinhull.plan.bundle_cgroups import Cgroup, bundle_cgroups, device_ops
from twinhull.plan.bundle_mounts import Place, compile_bundle_mounts
from twinhull.plan.cgroups import GUEST_FACTS, cgroup_ops
from twinhull.plan.compile import CLONE_FLAGS, STAGE, STDIN_CLIENT
from twinhull.plan.defaults import DEVICES, NAMESPACES
from twinhull.plan.guest import GROUP, GROUPS
from twinhull.plan.namespaces import KINDS, Namespaces, sort
from twinhull.plan.ops import Op, Plan
from twinhull.plan.qemu import SHARES
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

# Of a guest's own: where they are is not asked.
OWN = Namespaces(frozenset(("cgroup", "ipc", "mount", "network", "pid", "uts")), {}, (), ())
# What the pod of a container shares by path, and a guest has instead.
OF_THE_POD = ("ipc", "uts", "pid", "cgroup")
HOST_LIMITS = ("cpu", "blockIO", "hugepageLimits", "rdma", "unified")
SHARED_MEMORY = "/dev/shm"
KEPT_DEVICES = {f"/dev/{name}" for name, _, _ in DEVICES} | {"/dev/ptmx", "/dev/console"}
RDONLY = ("ro", "rro")
STREAM = 1  # of an exec


class Guest(NamedTuple):
    """What a bundle is in a guest: its plan there, and what is shared with it, the root first."""

    plan: Plan
    shares: tuple[Volume, ...]


def compile_guest(spec: Mapping[str, Any], facts: Facts, bundle: Bundle, network: tuple[Op, ...] = ()) -> Guest:
    """Return the plan that the guest's agent performs.

    Args:
        network: `network` ops for the guest's cards.

    Raises:
        InvalidRequest: a value that no runtime could honour.
        UnsupportedSpec: a value that a virtual machine cannot.
    """
    linux = spec.get("linux") or {}
    refuse_bundle(spec, linux, bundle)
    place = Place(bundle.directory, "", "", GUEST_FACTS, own_cgroups=True, own_users=False)
    mounts, late = compile_bundle_mounts(spec.get("mounts") or [], place)
    shares = [Volume(bundle.root, "/"), *shared(spec.get("mounts") or [], mounts)]
    child = (
        Op("namespaces", (sum(CLONE_FLAGS[kind] for kind in NAMESPACES if kind in CLONE_FLAGS),)),
        Op("private-mounts"),
        Op("root-bind", (f"{STAGE}/{SHARES}/volume0", 0)),
        *through_shares(mounts),
        *nodes(spec, linux),
        *late,
        *network,
        *isolation(spec, linux, OWN),
        Op("stdin", (STDIN_CLIENT,)),
        *process(spec, facts, bundle),
    )
    return Guest(Plan(limits(linux.get("resources") or {}, facts), child), tuple(shares))


def refuse_bundle(spec: Mapping[str, Any], linux: Mapping[str, Any], bundle: Bundle) -> None:
    """Raise for what a virtual machine cannot be given."""
    refuse(linux)
    refuse_namespaces(linux, spec.get("annotations") or {})
    for kind in ("createContainer", "startContainer"):
        if (spec.get("hooks") or {}).get(kind):
            raise UnsupportedSpec(f"hooks.{kind}: a hook cannot run in the namespaces of a virtual machine")
    for index, row in enumerate(linux.get("devices") or ()):
        if normpath(row.get("path") or "") not in KEPT_DEVICES:
            raise UnsupportedSpec(f"linux.devices[{index}]: a device of the host cannot be given to a virtual machine")
    if bundle.inherit:
        raise UnsupportedSpec("--preserve-fds: a descriptor cannot be passed into a virtual machine")
    refuse_process(spec.get("process") or {})


def refuse_process(given: Mapping[str, Any]) -> None:
    """Raise for what is a matter of the host's kernel."""
    check_process(given)
    if given.get("execCPUAffinity"):
        raise UnsupportedSpec("process.execCPUAffinity: the processors of a virtual machine are not the host's")
    for key in ("selinuxLabel", "apparmorProfile"):
        if given.get(key):
            raise UnsupportedSpec(f"process.{key}: the kernel of a virtual machine has no such policy")


def refuse_namespaces(linux: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
    """Raise for namespaces that would have to be the host's, but for those of a pod: there the guest is the pod."""
    made, joined = sort(linux.get("namespaces") or ())
    for kind in ("user", "time"):
        if kind in made or kind in joined:
            raise UnsupportedSpec(f"linux.namespaces: a {kind} namespace around a virtual machine is not supported")
    if "network" not in made and "network" not in joined:
        raise UnsupportedSpec("linux.namespaces: a virtual machine cannot have the host's network: network is missing")
    if "pid" not in made and "pid" not in joined:
        raise UnsupportedSpec("linux.namespaces: a virtual machine cannot see the host's processes: pid is missing")
    for kind in joined:
        if kind != "network" and not (kind in OF_THE_POD and sandbox_of(annotations)):
            raise UnsupportedSpec(f"linux.namespaces: a virtual machine cannot join a {kind} namespace of the host")


def sandbox_of(annotations: Mapping[str, str]) -> str:
    """The sandbox of the pod that a container belongs to, "" for none or for the sandbox itself."""
    for kind, sandbox in (
        ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
        ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
    ):
        if annotations.get(kind) == "container":
            return annotations.get(sandbox) or ""
    return ""


def shared(mounts: list[Mapping[str, Any]], ops: list[Op]) -> Iterator[Volume]:
    """What is bound, in the order of its ops: one that is to be read only is so on the host already."""
    bound = [op for op in ops if op.name in ("bind", "bind-idmapped")]
    given = [row for row in mounts if row.get("type") == "bind" or {"bind", "rbind"} & set(row.get("options") or ())]
    given = [row for row in given if "remount" not in (row.get("options") or ())]
    for op, row in zip(bound, given, strict=True):
        if op.name == "bind-idmapped":
            raise UnsupportedSpec(f"mounts: {row['destination']}: a share cannot be seen through maps")
        source, target, *_ = map(str, op.args)
        if normpath(target) != SHARED_MEMORY:
            yield Volume(source, target, readonly=bool(set(RDONLY) & set(row.get("options") or ())))


def through_shares(ops: list[Op]) -> Iterator[Op]:
    """The mounts with each bind as a share; memory that processes share is the guest's own."""
    number = 0
    for op in ops:
        if op.name != "bind":
            yield op
        elif normpath(str(op.args[1])) == SHARED_MEMORY:
            yield Op("filesystem", ("tmpfs", "shm", op.args[1], 0, "mode=1777"))
        else:
            number += 1
            yield Op("share", (f"volume{number}", op.args[1], 0))


def limits(resources: Mapping[str, Any], facts: Facts) -> tuple[Op, ...]:
    """The limits that hold inside: memory, processes, devices. Processors are QEMU's."""
    inside: dict[str, Any] = {}
    if (limit := memory_of(resources)) > 0:
        inside["memory"] = {"limit": limit}
    if ((resources.get("pids") or {}).get("limit") or 0) > 0:
        inside["pids"] = {"limit": resources["pids"]["limit"]}
    made = cgroup_ops({"cgroupsPath": f"/twinhull/{GROUP}", "resources": inside}, facts, "guest").make
    return (*made, *device_ops(resources, Cgroup(GROUPS + GROUP, ())))


def memory_of(resources: Mapping[str, Any]) -> int:
    """The limit of memory in bytes, 0 for none."""
    return max(0, (resources.get("memory") or {}).get("limit") or 0)


def processors_of(resources: Mapping[str, Any]) -> float:
    """How many processors the quota is, 0 for no quota."""
    cpu = resources.get("cpu") or {}
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 100_000
    return max(0.0, quota / period)


def compile_stand_in(
    spec: Mapping[str, Any], facts: Facts, bundle: Bundle, words: tuple[str, ...], machine_bytes: int
) -> Plan:
    """Return the plan of the process that waits for `start` and then stands for the guest.

    Args:
        words: its command line.
        machine_bytes: what QEMU may take with its guest's memory, where that has a limit.
    """
    linux = spec.get("linux") or {}
    resources = linux.get("resources") or {}
    around: dict[str, Any] = {key: resources[key] for key in HOST_LIMITS if resources.get(key)}
    if memory_of(resources):
        around["memory"] = {"limit": machine_bytes}
        words = (*words, "--memory", str(machine_bytes))
    groups = bundle_cgroups({"resources": around}, bundle.cgroup, facts)
    _, joined = sort(linux.get("namespaces") or ())
    network = Op("join-namespace", (KINDS["network"], joined["network"])) if "network" in joined else Op("netns")
    hooks = await_hooks(spec.get("hooks") or {})
    child = (Op("namespaces", (0,)), *hooks, *stand_in(spec["process"], bundle.directory, words))
    return Plan((*groups.make, network), child, groups.undo)


def compile_guest_exec(spec: Mapping[str, Any], facts: Facts, bundle: Bundle) -> tuple[Op, ...]:
    """Return the plan of one more process in the guest; spec["process"] is what it is."""
    refuse_process(spec["process"])
    return (Op("join"), Op("stdin", (STDIN_CLIENT,)), *process(spec, facts, bundle))


def compile_exec_stand_in(given: Mapping[str, Any], bundle: Bundle, words: tuple[str, ...]) -> Plan:
    """Return the plan of the process that stands for it: where the guest's own is."""
    return Plan(join_groups(bundle.cgroup), (Op("join"), *stand_in(given, bundle.directory, words)))


def join_groups(cgroup: Cgroup) -> tuple[Op, ...]:
    """The ops that put a process into groups that are there."""
    paths = dict.fromkeys(path for _, path in cgroup.legacy)
    unified = (Op("cgroup2", (cgroup.unified,)),) if cgroup.unified else ()
    return (*(Op("cgroup1", (path,)) for path in paths), *unified)


def stand_in(given: Mapping[str, Any], directory: str, words: tuple[str, ...]) -> Iterator[Op]:
    """A process of ours without a capability: it has the caller's streams, or a terminal of the host's."""
    yield Op("directory-of-work", (directory,))
    if given.get("terminal"):
        size = given.get("consoleSize") or {}
        yield Op("terminal", (size.get("height", 0), size.get("width", 0)))
        words = (*words, "--tty")
    if (adjust := given.get("oomScoreAdj")) is not None:
        yield Op("oom-score", (adjust + 1000,))
    yield Op("capabilities", (0, 0, 0, 0, 0))
    yield Op("no-new-privileges")
    yield from (Op("argument", (word,)) for word in ("twinhull-guest", *words[1:]))
    yield Op("exec", (words[0],))
