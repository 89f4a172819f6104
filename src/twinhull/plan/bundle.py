"""From any OCI spec to a plan: what `twinhull-oci create` and `exec` have the launcher do. Pure.

Promise: a value that is unknown, or that this machine cannot honour, is an error that names its field.
"""

from __future__ import annotations

from posixpath import normpath
from struct import pack

from twinhull import jsontext
from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.plan import defaults
from twinhull.plan.affinity import ALL_PROCESSORS, check_affinity, first_affinity, last_affinity
from twinhull.plan.bundle_cgroups import Cgroup, bundle_cgroups
from twinhull.plan.bundle_mounts import Place, compile_bundle_mounts
from twinhull.plan.compile import device_ops, isolation_ops
from twinhull.plan.namespaces import (
    Namespaces,
    compile_namespaces,
    foreign_mounts,
    inner_propagation,
    time_offsets,
)
from twinhull.plan.ops import Op, Plan
from twinhull.plan.process import process_ops
from twinhull.plan.sysctl import namespace_of
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from twinhull.model import Facts

ROOT_OWNERS = 2
# An extension of crun's, which Podman writes for `--group-add keep-groups`: "1", and no other groups are given.
KEEP_GROUPS = "run.oci.keep_original_groups"
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
AT_ONCE, BEFORE_EXEC, AS_PROCESS = 0, 1, 2
KINDS = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
LAST_MAJOR, LAST_MINOR = (1 << 12) - 1, (1 << 20) - 1  # of the kernel's dev_t
POLICIES = {
    name: number
    for number, name in enumerate(
        "SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_ISO SCHED_IDLE SCHED_DEADLINE".split()
    )
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
SCHEDULER_KEYS = (
    (("priority",), ("SCHED_FIFO", "SCHED_RR")),
    (("runtime", "deadline", "period"), ("SCHED_DEADLINE",)),
)
SCHED_ATTR = "<IIQiIQQQ"  # struct sched_attr, version 0
SCHED_ATTR_BYTES = 48
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
IO_CLASS_SHIFT = 13
MAX_GROUPS = 65_536  # NGROUPS_MAX
NICE = range(-20, 20)
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}


class Bundle(NamedTuple):
    """What a spec does not say.

    Attributes:
        directory: of the bundle, absolute.
        root: of the file system, absolute.
        state: the state document for hooks, but for its pid.
        seccomp: the compiled filter and the flags of seccomp(2) it is loaded with.
        inherit: numbers of descriptors that the process gets from our caller.
    """

    directory: str
    root: str
    cgroup: Cgroup
    state: Mapping[str, object]
    seccomp: bytes = b""
    seccomp_flags: int = 0
    inherit: tuple[int, ...] = ()


def compile_bundle(spec: Mapping[str, Any], facts: Facts, bundle: Bundle) -> Plan:
    """Return the plan for a bundle.

    Raises:
        InvalidRequest: a value that no runtime could honour.
        UnsupportedSpec: a value that this machine, or this runtime, cannot.
    """
    linux = spec.get("linux") or {}
    refuse(linux)
    namespaces = compile_namespaces(linux, rootless=facts.rootless)
    groups = bundle_cgroups(linux, bundle.cgroup, facts)
    path = bundle.cgroup.unified.removeprefix(facts.cgroup2) if facts.cgroup2 else legacy_path(bundle.cgroup, facts)
    own = {f"own_{kind}s": namespaces.has(kind) for kind in ("cgroup", "user")}
    place = Place(bundle.directory, bundle.root, path, facts, own_mounts=namespaces.own_mounts, **own)
    mounts, late = compile_bundle_mounts(spec.get("mounts") or [], place)
    hooks = spec.get("hooks") or {}
    child = (
        *namespaces.child,
        Op("root-bind", (bundle.root, ROOT_OWNERS)),
        *mounts,
        *nodes(spec, linux),
        *console(spec, late),
        *late,
        *await_hooks(hooks),
        *([Op("hook-directory", (bundle.directory,))] if hooks.get("createContainer") else []),
        *hook_ops(hooks, "createContainer", AT_ONCE, {**bundle.state, "status": "creating"}),
        *hook_ops(hooks, "startContainer", BEFORE_EXEC, {**bundle.state, "status": "created"}),
        *isolation(spec, linux, namespaces),
        ALL_PROCESSORS,
        *process(spec, facts, bundle),
    )
    child = (*child[:-1], *foreign_mounts(linux), child[-1])
    host = (*(Op("inherit", (number,)) for number in bundle.inherit), *groups.make, *namespaces.host)
    return Plan(host, child, groups.undo)


def compile_exec(spec: Mapping[str, Any], facts: Facts, bundle: Bundle) -> Plan:
    """Return the plan of one more process of a container; spec["process"] is what it is."""
    groups = [Op("cgroup1", (path,)) for path in dict.fromkeys(path for _, path in bundle.cgroup.legacy)]
    if bundle.cgroup.unified:
        groups.append(Op("cgroup2", (bundle.cgroup.unified,)))
    given = (Op("inherit", (number,)) for number in bundle.inherit)
    of_container = personality(spec.get("linux") or {})
    joined = (Op("join"), *foreign_mounts(spec.get("linux") or {}))
    processors = last_affinity(spec["process"])
    host = (*given, *first_affinity(spec["process"]), *groups)
    return Plan(host, (*joined, *of_container, processors, *process(spec, facts, bundle)))


def legacy_path(cgroup: Cgroup, facts: Facts) -> str:
    """The container's path in the v1 hierarchies."""
    return cgroup.legacy[0][1].removeprefix(facts.cgroup1[0][1]) if cgroup.legacy else ""


def refuse(linux: Mapping[str, Any]) -> None:
    """Raise for what no part of this runtime does."""
    for field in ("intelRdt", "mountLabel", "memoryPolicy", "netDevices"):
        if linux.get(field):
            raise UnsupportedSpec(f"linux.{field}: not supported")


def isolation(spec: Mapping[str, Any], linux: Mapping[str, Any], namespaces: Namespaces) -> Iterator[Op]:
    """From the last mount to the process: masks, sysctls, the pivot, names."""
    for key in ("maskedPaths", "readonlyPaths"):
        for index, path in enumerate(linux.get(key) or ()):
            if not path.startswith("/"):
                raise InvalidRequest(f"linux.{key}[{index}]: {path!r} is not absolute")
            if key == "maskedPaths" and normpath(path).strip("/") == "":
                raise InvalidRequest(f"linux.{key}[{index}]: {path!r} is the root, which cannot be masked")
    for key in linux.get("sysctl") or {}:
        check_sysctl(key, namespaces, spec)
    for key in ("hostname", "domainname"):
        if spec.get(key) and not namespaces.has("uts"):
            raise InvalidRequest(f"{key}: there is no uts namespace in linux.namespaces")
    yield from isolation_ops(spec, linux)
    yield from inner_propagation(linux)
    if spec.get("domainname"):
        yield Op("domainname", (spec["domainname"],))
    yield from time_offsets(linux, namespaces)
    yield from personality(linux)


def personality(linux: Mapping[str, Any]) -> Iterator[Op]:
    """linux.personality, which `exec` has too."""
    if name := (linux.get("personality") or {}).get("domain"):
        if name not in PERSONALITIES:
            raise InvalidRequest(f"linux.personality.domain: unknown value {name!r}")
        if linux["personality"].get("flags"):
            raise UnsupportedSpec("linux.personality.flags: not supported")
        yield Op("personality", (PERSONALITIES[name],))


def check_sysctl(key: str, namespaces: Namespaces, spec: Mapping[str, Any]) -> None:
    """Refuse what would be the whole machine's, a name that leads there, and one that another field is for."""
    if {"", ".", ".."} & set(key.split("/")):
        raise InvalidRequest(f"linux.sysctl: {key!r} is no setting's name")
    key = key.replace("/", ".")
    if key == "kernel.hostname" or (key == "kernel.domainname" and spec.get("domainname")):
        raise InvalidRequest(f"linux.sysctl: {key!r} is what {key.partition('.')[2]!r} of config.json sets")
    if not (needed := namespace_of(key)):
        raise InvalidRequest(f"linux.sysctl: {key!r} is not in a separate kernel namespace")
    if not namespaces.has(needed):
        raise InvalidRequest(f"linux.sysctl: {key!r} needs a {needed} namespace in linux.namespaces")


def nodes(spec: Mapping[str, Any], linux: Mapping[str, Any]) -> Iterator[Op]:
    """What is made below /dev; nothing in a directory of the host's that is bound there, for that would change it.

    A bundle of a privileged pod lists the host's ptmx; the workload's own is the one of its devpts. Of two nodes with
    one path it has the first, and of one that every container has, the bundle's.
    """
    for mount in spec.get("mounts") or ():
        bound = mount.get("type") == "bind" or {"bind", "rbind"} & set(mount.get("options") or ())
        if bound and normpath(mount.get("destination") or "") == "/dev":
            return
    there, listed = {"/dev/ptmx"}, []
    for index, row in enumerate(linux.get("devices") or ()):
        made = device(row, index)
        if (path := normpath(str(made.args[0]))) not in there:
            listed.append(made)
        there.add(path)
    yield from (op for op in device_ops() if op.name != "device" or op.args[0] not in there - {"/dev/ptmx"})
    yield from listed


def console(spec: Mapping[str, Any], late: list[Op]) -> Iterator[Op]:
    """The place of a terminal's name in a /dev that is closed for writing before there is a terminal."""
    if (spec.get("process") or {}).get("terminal") and any(op.args[0] == "/dev" for op in late):
        yield Op("file", ("/dev/console", b"", 0o600))


def device(row: Mapping[str, Any], index: int) -> Op:
    """One node of linux.devices."""
    kind, path = row.get("type"), row.get("path") or ""
    if kind not in KINDS:
        raise InvalidRequest(f"linux.devices[{index}].type: unknown type {kind!r}")
    if not path.startswith("/"):
        raise InvalidRequest(f"linux.devices[{index}].path: {path!r} is not absolute")
    if kind != "p" and not all(isinstance(row.get(key), int) and row[key] >= 0 for key in ("major", "minor")):
        raise InvalidRequest(f"linux.devices[{index}].major: a device needs both its numbers")
    for key, last in (("major", LAST_MAJOR), ("minor", LAST_MINOR)):
        if (row.get(key) or 0) > last:
            raise InvalidRequest(f"linux.devices[{index}].{key}: {row[key]} is above {last}")
    mode, numbers = row.get("fileMode"), (row.get("major") or 0, row.get("minor") or 0)
    mode = 0o666 if mode is None else mode & 0o7777
    return Op("device", (path.rstrip("/"), mode, KINDS[kind], *numbers, row.get("uid") or 0, row.get("gid") or 0))


def await_hooks(hooks: Mapping[str, Any]) -> tuple[Op, ...]:
    """The pause for hooks that run outside, where there are any; what no hook can be is told now, whenever it runs."""
    for kind in HOOKS:
        for index, hook in enumerate(hooks.get(kind) or ()):
            hook_parts(hook, f"hooks.{kind}[{index}]")
    return (Op("await-hooks"),) if hooks.get("prestart") or hooks.get("createRuntime") else ()


def hook_ops(hooks: Mapping[str, Any], kind: str, when: int, state: Mapping[str, object]) -> Iterator[Op]:
    """The hooks of a kind that run in the container."""
    for index, hook in enumerate(hooks.get(kind) or ()):
        path, arguments, environment, timeout_ms = hook_parts(hook, f"hooks.{kind}[{index}]")
        text = jsontext.dumps(state, compact=True)[:-1] + ',"pid":'
        moment = AS_PROCESS if when == BEFORE_EXEC and hook.get("env") is None else when
        yield Op("hook", (moment, path, words(arguments), words(environment), timeout_ms, text))


def hook_parts(hook: Mapping[str, Any], field: str) -> tuple[str, list[str], list[str], int]:
    """Return path, arguments, environment and milliseconds (0: no limit) of a hook."""
    path, timeout = hook.get("path") or "", hook.get("timeout")
    if not path.startswith("/"):
        raise InvalidRequest(f"{field}.path: {path!r} is not absolute")
    if timeout is not None and (not isinstance(timeout, int) or timeout <= 0):
        raise InvalidRequest(f"{field}.timeout: {timeout!r} is not greater than zero")
    return path, hook.get("args") or [path], hook.get("env") or [], (timeout or 0) * 1000


def words(texts: list[str]) -> bytes:
    """Texts as the launcher splits them."""
    return b"".join(text.encode("utf-8", "surrogateescape") + b"\0" for text in texts)


def process(spec: Mapping[str, Any], facts: Facts, bundle: Bundle) -> Iterator[Op]:
    """The process section, field by field."""
    given = spec.get("process") or {}
    check_process(given)
    complete = {
        **given,
        "env": given.get("env") or [],
        "user": {"uid": 0, "gid": 0, **(given.get("user") or {})},
        "capabilities": known_capabilities(given.get("capabilities") or {}),
    }
    yield from scheduling(given)
    if label := given.get("selinuxLabel"):
        yield Op("label", ("exec", label))
    if profile := given.get("apparmorProfile"):
        yield Op("label", ("apparmor/exec", f"exec {profile}"))
    for op in process_ops(complete, facts, seccomp=bundle.seccomp):
        if op.name == "seccomp" and bundle.seccomp_flags:
            yield Op("seccomp-flags", (*op.args, bundle.seccomp_flags))
        elif op.name == "user" and (spec.get("annotations") or {}).get(KEEP_GROUPS) == "1":
            yield op._replace(args=(*op.args[:2], b"\1"))
        elif op.name == "capabilities":
            yield Op("capabilities", possible(*(int(bits) for bits in op.args)))
        else:
            yield op


def possible(bounding: int, effective: int, permitted: int, inheritable: int, ambient: int) -> tuple[int, ...]:
    """The sets as capabilities(7) allows them: no process can hold more, and that is no error by the specification."""
    return bounding, effective & permitted, permitted, inheritable, ambient & permitted & inheritable


def known_capabilities(sets: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The sets without the names that no kernel knows."""
    unknown = set(ungranted_capabilities({"unknown": [name for listed in sets.values() for name in listed or ()]}))
    return {kind: [name for name in listed or () if name not in unknown] for kind, listed in sets.items()}


def check_process(given: Mapping[str, Any]) -> None:
    """Refuse a process that cannot be."""
    if not given.get("args") or not given["args"][0]:
        raise InvalidRequest("process.args: it must not be empty")
    if not str(given.get("cwd") or "").startswith("/"):
        raise InvalidRequest(f"process.cwd: {given.get('cwd') or ''!r} is not absolute")
    for index, entry in enumerate(given.get("env") or ()):
        if not entry.partition("=")[0] or "=" not in entry:
            raise InvalidRequest(f"process.env[{index}]: invalid environment variable: {entry!r} is not NAME=value")
    if (adjust := given.get("oomScoreAdj")) is not None and not -1000 <= adjust <= 1000:
        raise InvalidRequest(f"process.oomScoreAdj: {adjust} is not between -1000 and 1000")
    if (count := len((given.get("user") or {}).get("additionalGids") or ())) > MAX_GROUPS:
        raise InvalidRequest(
            f"process.user.additionalGids: {count} are more than the {MAX_GROUPS} that the kernel takes"
        )
    seen = set()
    for limit in given.get("rlimits") or ():
        if limit["type"] in seen:
            raise InvalidRequest(f"process.rlimits: {limit['type']} is there twice")
        seen.add(limit["type"])
        if limit["soft"] > limit["hard"] >= 0:
            raise InvalidRequest(f"process.rlimits: the soft limit of {limit['type']} is above the hard one")
    check_affinity(given)


def scheduling(given: Mapping[str, Any]) -> Iterator[Op]:
    """process.scheduler and process.ioPriority."""
    if scheduler := given.get("scheduler"):
        policy = scheduler.get("policy") or "SCHED_OTHER"
        flags = scheduler.get("flags") or []
        if policy not in POLICIES:
            raise InvalidRequest(f"process.scheduler.policy: unknown policy {policy!r}")
        for flag in flags:
            if flag not in SCHEDULER_FLAGS:
                raise InvalidRequest(f"process.scheduler.flags: unknown flag {flag!r}")
        check_scheduler(scheduler, policy)
        bits = sum(SCHEDULER_FLAGS[flag] for flag in set(flags))
        numbers = [scheduler.get(key) or 0 for key in ("nice", "priority", "runtime", "deadline", "period")]
        yield Op("scheduler", (pack(SCHED_ATTR, SCHED_ATTR_BYTES, POLICIES[policy], bits, *numbers),))
    if io := given.get("ioPriority"):
        kind, level = io.get("class"), io.get("priority") or 0
        if kind not in IO_CLASSES:
            raise InvalidRequest(f"process.ioPriority.class: unknown class {kind!r}")
        if not 0 <= level <= 7:
            raise InvalidRequest(f"process.ioPriority.priority: {level} is not between 0 and 7")
        yield Op("io-priority", (IO_CLASSES[kind] << IO_CLASS_SHIFT | level,))


def check_scheduler(scheduler: Mapping[str, Any], policy: str) -> None:
    """Refuse what the kernel would bend or pass over: a nice value out of its range, and what another policy is for."""
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and (nice := scheduler.get("nice") or 0) not in NICE:
        raise InvalidRequest(f"process.scheduler.nice: {nice} is not between {NICE.start} and {NICE.stop - 1}")
    for keys, policies in SCHEDULER_KEYS:
        for key in keys:
            if scheduler.get(key) and policy not in policies:
                raise InvalidRequest(f"process.scheduler.{key}: it is for {' and '.join(policies)}, not for {policy}")


def ungranted_capabilities(sets: Mapping[str, list[str]]) -> list[str]:
    """Names that cannot be granted: the specification wants a warning for them, not an error."""
    names = {name for listed in sets.values() for name in listed or ()}
    unknown = {name for name in names if name.removeprefix("CAP_") not in defaults.CAPABILITY_NUMBERS}
    permitted = set(sets.get("permitted") or ())
    above = set(sets.get("effective") or ()) - permitted
    return sorted(unknown | above | (set(sets.get("ambient") or ()) - permitted & set(sets.get("inheritable") or ())))
