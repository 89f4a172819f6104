"""create: from a bundle to a process that waits; and exec, one more process of a container that is there."""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.errors import Conflict, HostUnfit, InvalidRequest, NotFound, TwinhullError
from twinhull.host import files
from twinhull.host.facts import read_facts
from twinhull.plan.bundle import Bundle, compile_bundle, compile_exec, ungranted_capabilities
from twinhull.plan.bundle_cgroups import NO_GROUPS, Cgroup, place
from twinhull.plan.codec import encode
from twinhull.plan.shape import SPEC, check_shape
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.claim import claimed
from twinhull.runtime.oci.conversation import Started, perform
from twinhull.runtime.oci.record import Record
from twinhull.runtime.oci.refusals import fields_named, group_named, starvation_named
from twinhull.runtime.oci.seccomp import Filter, container_filter, tell_listener
from twinhull.runtime.oci.streams import Streams, check_terminal, settle
from twinhull.runtime.oci.subgroups import below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from twinhull.model import Facts
    from twinhull.plan.ops import Op, Plan

RESUMED_POLL_S = 0.05


OF_A_PROCESS = ("process.", "linux.seccomp", "linux.personality")


def load_spec(bundle: str, path: str) -> Any:
    """Return a bundle's configuration.

    Raises:
        NotFound: there is none.
        InvalidRequest: it is not JSON, of another version, or has a field of another type than the specification's.
    """
    try:
        spec = jsontext.loads(files.read(path or f"{bundle}/config.json"))
    except FileNotFoundError:
        raise NotFound(f"JSON specification file {path or 'config.json'} not found in {bundle}") from None
    except ValueError as error:
        raise InvalidRequest(f"config.json: {error}") from None
    except RecursionError:
        raise InvalidRequest("config.json: it is nested too deeply") from None
    if not isinstance(spec, dict):
        raise InvalidRequest("config.json: it is not an object")
    version = spec.get("ociVersion") or ""
    if not isinstance(version, str) or version.count(".") < 2 or version.split(".")[0] != "1":
        raise InvalidRequest(f"ociVersion: {version!r} is not a version that this runtime reads (1.x.y)")
    check_shape(spec, SPEC)
    return spec


def create(
    root: str,
    identity: str,
    bundle: str,
    spec: Any,
    streams: Streams,
    warn: Callable[[str], None],
    *,
    guest: bool = False,
    grouped: bool = True,
) -> Started:
    """Make a container whose process waits for `start`; a terminal without a console socket stays with us.

    Args:
        bundle: its directory, without a symbolic link in it.
        spec: its configuration.
        guest: it becomes a virtual machine.
        grouped: it has control groups; else it stays in those of the caller.

    Raises:
        Conflict: the id is in use.
        InvalidRequest, UnsupportedSpec: the configuration; the message names the field.
        LaunchError: the kernel refused a step, and everything was taken back.
        HostUnfit: a user without root lacks something; the message says what repairs it.
    """
    with claimed(root, records.sketch(identity, bundle, spec["ociVersion"]), warn) as lock:
        made = make(root, identity, bundle, spec, streams, lock, guest=guest, grouped=grouped)
    if left := ungranted_capabilities(spec["process"].get("capabilities") or {}):
        warn(f"process.capabilities: cannot be granted: {' '.join(left)}")
    if (((spec.get("linux") or {}).get("resources") or {}).get("memory") or {}).get("kernel"):
        from twinhull.runtime.oci.limits import warn_of_ignored

        warn_of_ignored(records.load(root, identity), spec["linux"]["resources"]["memory"], warn)
    return made


def make(
    root: str, identity: str, bundle: str, spec: Any, streams: Streams, lock: int, *, guest: bool, grouped: bool
) -> Started:
    """Fill the directory, perform the plan, and keep the record."""
    directory, facts = records.directory(root, identity), read_facts()
    user: tuple[Op, ...] = ()
    on_maps = None
    records.begin(directory, bundle, spec)
    spec = streams.told(spec) if guest else with_notify(streams.told(spec), directory)
    if os.geteuid() != 0:
        facts, user, spec, on_maps = without_root(facts, spec, guest=guest)
    linux = spec.get("linux") or {}
    record = draft(identity, bundle, spec, guest=guest)
    cgroup = place(linux.get("cgroupsPath") or "", identity, facts) if grouped else NO_GROUPS
    if facts.rootless and grouped:
        from twinhull.runtime.oci.rootless import reachable

        facts, cgroup = reachable(facts, cgroup, named=bool(linux.get("cgroupsPath")))
    record = record._replace(unified=cgroup.unified, legacy=[list(row) for row in cgroup.legacy])
    seccomp = container_filter(root, linux.get("seccomp"))
    described = describe(root, record, cgroup, seccomp, streams)
    plan = stand_in(root, record, spec, described) if guest else compile_bundle(spec, facts, described)
    if not guest and is_occupied(cgroup):
        plan = plan._replace(undo=tuple(op for op in plan.undo if op.name not in ("kill-cgroup", "remove-cgroup")))
    meanwhile = undo_meanwhile(plan, cgroup)
    files.replace(f"{directory}/undo", encode(meanwhile))
    os.mkfifo(f"{directory}/exec.fifo", 0o600)
    check_terminal(spec["process"], streams)
    inherited = streams.inherited()
    hooks, listen = hooks_of(root, record, spec), listener_of(root, record, seccomp, "creating")
    with fields_named(spec), starvation_named(cgroup):
        started = perform(
            plan._replace(host=(*user, *plan.host)),
            directory,
            inherit=inherited,
            init=streams.init,
            lock=lock,
            on_hooks=hooks,
            on_listener=listen,
            on_maps=on_maps,
            on_started=lambda pid: records.save(root, record._replace(pid=pid, start_time=records.start_time(pid))),
        )
    try:
        settle(started, streams)
    except BaseException:
        os.kill(started.pid, 9)
        raise
    if meanwhile != plan.undo:
        files.replace(f"{directory}/undo", encode(plan.undo))
    return started


def with_notify(spec: Mapping[str, Any], directory: str) -> Mapping[str, Any]:
    """The spec of a container that can tell our caller's service manager, if there is one, that it is ready."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return spec
    from twinhull.runtime.oci.notify import notified

    return notified(spec, directory)


def undo_meanwhile(plan: Plan, cgroup: Cgroup) -> tuple[Op, ...]:
    """What is undone if this comes to nothing: a group that was there before stays."""
    there = [path for path in (cgroup.unified, *(path for _, path in cgroup.legacy)) if path and os.path.isdir(path)]
    return tuple(op for op in plan.undo if op.name != "remove-cgroup" or op.args[0] not in there)


def is_occupied(cgroup: Cgroup) -> bool:
    """True if somebody is in the groups already: they are not ours to remove."""
    for directory in dict.fromkeys((cgroup.unified, *(path for _, path in cgroup.legacy))):
        for top, _, _ in os.walk(directory) if directory and os.path.isdir(directory) else ():
            if files.read(f"{top}/cgroup.procs"):
                return True
    return False


def draft(identity: str, bundle: str, spec: Mapping[str, Any], *, guest: bool) -> Record:
    """The record of a container whose process is not there yet, and whose groups are not known."""
    return Record(
        id=identity,
        bundle=bundle,
        rootfs=rootfs(spec, bundle),
        created=now(),
        pid=0,
        start_time=0,
        version=spec["ociVersion"],
        annotations=spec.get("annotations") or {},
        unified="",
        legacy=[],
        marks=records.marks_of(spec, guest=guest),
    )


def without_root(
    facts: Facts, spec: Mapping[str, Any], *, guest: bool
) -> tuple[Facts, tuple[Op, ...], Mapping[str, Any], Callable[[int], None]]:
    """For a user: the facts, what is done first, the spec as it is seen then, and who writes maps for `launcher init`.

    Raises:
        HostUnfit: it is to become a virtual machine.
    """
    from twinhull.plan.own_users import own_users
    from twinhull.runtime.oci.rootless import with_maps, write_maps

    if guest:
        raise HostUnfit("a bundle becomes a virtual machine by root only: sudo, or twinhull run --vm")
    linux = with_maps(spec.get("linux") or {})
    entered, inside = own_users({**spec, "linux": linux}, os.geteuid(), os.getegid())
    return facts._replace(rootless=True), (entered,), inside, lambda pid: write_maps(pid, linux)


def stand_in(root: str, record: Record, spec: Mapping[str, Any], bundle: Bundle) -> Plan:
    """The plan of what stands on the host for a virtual machine."""
    from twinhull.runtime.oci import guest

    return guest.prepare(root, record, spec, read_facts(), bundle)


def hooks_of(root: str, record: Record, spec: Mapping[str, Any]) -> Callable[[int], None]:
    """What runs the hooks outside, once the namespaces are there."""

    def run(pid: int) -> None:
        from twinhull.runtime.oci.hooks import run_hooks

        for kind in ("prestart", "createRuntime"):
            run_hooks(spec, kind, records.document(root, record._replace(pid=pid), "creating"))

    return run


def listener_of(root: str, record: Record, seccomp: Filter, status: str) -> Callable[[int, int], None]:
    """What tells a filter's listener of a process, at once: its next call may be one that is asked about."""

    def tell(pid: int, fd: int) -> None:
        first = record if record.pid else record._replace(pid=pid)
        tell_listener(seccomp, pid, fd, records.document(root, first, status))

    return tell


def describe(root: str, record: Record, cgroup: Cgroup, seccomp: Filter, streams: Streams) -> Bundle:
    """What the compiler needs beside the spec."""
    state = records.document(root, record, "creating")
    del state["pid"]
    return Bundle(
        directory=record.bundle,
        root=record.rootfs,
        cgroup=cgroup,
        state=state,
        seccomp=seccomp.program,
        seccomp_flags=seccomp.flags,
        inherit=tuple(streams.inherited()),
    )


def rootfs(spec: Mapping[str, Any], bundle: str) -> str:
    """Return the absolute path of the root.

    Raises:
        InvalidRequest: there is none.
    """
    path = (spec.get("root") or {}).get("path") or ""
    if not path:
        raise InvalidRequest("root.path: it must not be empty")
    found = os.path.realpath(os.path.join(bundle, path))
    if not os.path.isdir(found):
        raise InvalidRequest(f"root.path: {found} is no directory")
    if not spec.get("process"):
        raise InvalidRequest("process: it must be there")
    return found


def now() -> str:
    """The time in RFC 3339, with nanoseconds as Go writes them."""
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def execute(
    root: str,
    identity: str,
    process: Mapping[str, Any],
    streams: Streams,
    *,
    subgroups: Sequence[str] = (),
    paused: bool = False,
) -> Started:
    """Start one more process in a container.

    Args:
        process: the process section, complete.
        subgroups: cgroups below the container's that are there, as `below` reads them; none for its own.
        paused: wait where the container is, until it is resumed.

    Raises:
        InvalidRequest: the cgroup is not below the container's.
        Conflict: the container does not run, or is paused.
        LaunchError: the program could not be executed.
    """
    record = records.load(root, identity)
    while (state := records.status(root, record)) == "paused" and paused:
        time.sleep(RESUMED_POLL_S)
    if state not in ("running", "created"):
        why = "container paused" if state == "paused" else "container not running"
        raise Conflict(f"cannot exec in a {state} container: {why}")
    spec = streams.told({**records.config(root, identity), "process": process})
    if os.geteuid() != 0:
        from twinhull.plan.own_users import check_user

        check_user(process.get("user") or {}, spec.get("linux") or {})
    cgroup = below(Cgroup(record.unified, tuple((name, path) for name, path in record.legacy)), subgroups)
    seccomp = container_filter(root, (spec.get("linux") or {}).get("seccomp"))
    check_terminal(process, streams)
    if records.GUEST in record.marks:
        return execute_in_guest(root, record, spec, streams, subgroups)
    facts: Facts = read_facts()
    plan = compile_exec(spec, facts, describe(root, record, cgroup, seccomp, streams))
    directory, inherited = records.directory(root, identity), streams.inherited()
    listen = listener_of(root, record, seccomp, state)
    with group_named(record.unified), fields_named(spec, of=OF_A_PROCESS):
        started = perform(plan, directory, join=record.pid, inherit=inherited, init=streams.init, on_listener=listen)
    try:
        settle(started, streams)
    except TwinhullError:
        os.kill(started.pid, 9)
        raise
    return started


def execute_in_guest(
    root: str, record: Record, spec: Mapping[str, Any], streams: Streams, subgroups: Sequence[str]
) -> Started:
    """The same in a virtual machine."""
    from twinhull.runtime.oci import guest

    if subgroups:
        raise InvalidRequest("--cgroup: a virtual machine has no cgroup of the host's below its own")
    started = guest.execute(root, record, spec, streams)
    try:
        settle(started, streams)
    except TwinhullError:
        os.kill(started.pid, 9)
        raise
    return started
