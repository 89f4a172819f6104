"""restore: a container whose processes are those of a checkpoint.

CRIU is started as a process of the new container's groups, in a mount namespace of its own where the root is bound to a
mount point; the process that it makes is our child, as that of `create` is.

Promise: until CRIU tells of the process it is `creating`, or `stopped` once nobody works on it; `delete`
removes what is left.
"""

from __future__ import annotations

import os
import stat

from twinhull import jsontext
from twinhull.errors import InvalidRequest, NotFound
from twinhull.host import files
from twinhull.host.facts import read_facts
from twinhull.host.spawn import search_path
from twinhull.plan import checkpoint, criu
from twinhull.plan.bundle_cgroups import bundle_cgroups, place
from twinhull.plan.codec import encode
from twinhull.plan.namespaces import KINDS
from twinhull.plan.ops import Op, Plan
from twinhull.runtime.oci import life, notify
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.checkpoint import EXTERNAL_NAMESPACES, NOTE, Images, common, joined
from twinhull.runtime.oci.claim import claimed
from twinhull.runtime.oci.conversation import Started, perform
from twinhull.runtime.oci.create import draft, hooks_of, is_occupied, now, undo_meanwhile
from twinhull.runtime.oci.criu import CriuFailed, channel, converse, explained, find, open_directory
from twinhull.runtime.oci.launcher import FIRST_INHERITED_FD
from twinhull.runtime.oci.refusals import fields_named
from twinhull.runtime.oci.streams import Streams, check_terminal, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from twinhull.plan.checkpoint import Kept
    from twinhull.plan.criu import Answer, Value
    from twinhull.runtime.oci.record import Record

LOG, STAGE = "restore.log", "criu"
SWRK_FD, LOCK_FD, NULL_FD = range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + 3)
FIRST_NAMESPACE_FD = NULL_FD + 1
NAMES = {"mount": "mnt", "network": "net"}  # where the kernel's name of a namespace is another than the spec's


def restore(
    root: str,
    identity: str,
    bundle: str,
    spec: Any,
    streams: Streams,
    images: Images,
    warn: Callable[[str], None],
) -> Started:
    """Make a container of its images; a terminal without a console socket stays with us.

    Raises:
        Conflict: the id is in use.
        NotFound: there are no images.
        InvalidRequest: the bundle has not what the container had.
        HostUnfit: CRIU does not work here.
        CriuFailed: CRIU could not, and everything was taken back.
    """
    note = read_note(images)
    images = images._replace(path=find(images.path))
    with claimed(root, records.sketch(identity, bundle, spec["ociVersion"]), warn) as lock:
        started = make(root, identity, bundle, spec, streams, images, note, lock)
    life.tell_started(root, records.load(root, identity))
    return started


def read_note(images: Images) -> Any:
    """What checkpoint has written beside the images.

    Raises:
        NotFound: nothing.
    """
    try:
        return jsontext.loads(files.read(f"{images.directory}/{NOTE}").decode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        raise NotFound(f"{images.directory}: no checkpoint of this runtime's is there: {NOTE} is missing") from None


def make(
    root: str, identity: str, bundle: str, spec: Any, streams: Streams, images: Images, note: Any, lock: int
) -> Started:
    """Fill the directory, have the groups made and CRIU started in them, and let it work."""
    directory, facts, linux = records.directory(root, identity), read_facts(), spec.get("linux") or {}
    records.begin(directory, bundle, spec)
    cgroup = place(linux.get("cgroupsPath") or "", identity, facts)
    record = draft(identity, bundle, spec, guest=False)
    check_terminal(spec["process"], streams)
    record = record._replace(unified=cgroup.unified, legacy=[list(row) for row in cgroup.legacy])
    kept = [checkpoint.Kept(*row) for row in note["mounts"]]
    spec = with_notify(spec, kept, directory)
    sources = checkpoint.sources(kept, spec, bundle, record.rootfs, cgroup)
    for top, path, is_directory in checkpoint.places(kept, sources, record.rootfs):
        make_place(top, path, is_directory=is_directory)
    # CRIU turns the roots about in /tmp, or in a directory that it cannot make where the root is read-only.
    if spec["root"].get("readonly") and not os.path.lexists(f"{record.rootfs}/tmp"):
        make_place(record.rootfs, "/tmp", is_directory=True)
    if linux.get("gidMappings"):
        let_root_in(images.directory, linux["gidMappings"])
        os.chmod(directory, 0o711)
    os.mkdir(f"{directory}/{STAGE}", 0o711)
    os.mkfifo(f"{directory}/exec.fifo", 0o600)
    with fields_named(spec):
        groups = bundle_cgroups(linux, cgroup, facts)
        taken = groups.undo
        if is_occupied(cgroup):
            taken = tuple(op for op in taken if op.name not in ("kill-cgroup", "remove-cgroup"))
        meanwhile = undo_meanwhile(Plan(undo=taken), cgroup)
        files.replace(f"{directory}/undo", encode(meanwhile))
        started = let_criu(root, record, spec, images, note, kept, sources, groups.make, lock)
    try:
        settle(started, streams)
    except BaseException:
        os.kill(started.pid, 9)
        raise
    if meanwhile != taken:
        files.replace(f"{directory}/undo", encode(taken))
    os.rmdir(f"{directory}/{STAGE}")
    return started


def with_notify(spec: Mapping[str, Any], kept: list[Kept], directory: str) -> Mapping[str, Any]:
    """The spec with the place of a socket for sd_notify(3), if the container had one."""
    destinations = {row.get("destination") for row in spec.get("mounts") or ()}
    had = any(row.origin == "bind" and row.name == notify.INSIDE for row in kept)
    return notify.notified(spec, directory) if had and notify.INSIDE not in destinations else spec


def let_root_in(directory: str, maps: list[Mapping[str, int]]) -> None:
    """Let root of a user namespace, as which a part of CRIU reads, into the images' directory, and nobody else."""
    group = next((row["hostID"] for row in maps if row["containerID"] == 0), 0)
    mode = os.stat(directory).st_mode
    if group and not mode & stat.S_IXOTH:
        os.chown(directory, -1, group)
        os.chmod(directory, stat.S_IMODE(mode) | stat.S_IXGRP)


def make_place(top: str, path: str, *, is_directory: bool) -> None:
    """Make what a mount will hide, and what leads there. No link is followed: there was none when it was saved.

    Raises:
        InvalidRequest: something else is there.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(top, os.O_PATH | os.O_CLOEXEC)
    names = [name for name in path.split("/") if name]
    try:
        for index, name in enumerate(names):
            directory = is_directory or index < len(names) - 1
            try:
                if directory:
                    os.mkdir(name, 0o755, dir_fd=at)
                else:
                    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=at))
            except FileExistsError:
                pass
            below = os.open(name, flags, dir_fd=at)
            os.close(at)
            at = below
            mode = os.fstat(at).st_mode
            if stat.S_ISLNK(mode) or stat.S_ISDIR(mode) != directory:
                raise InvalidRequest(f"{path}: the container had a mount there, and {top}/{path} is no place for it")
    finally:
        os.close(at)


def let_criu(
    root: str,
    record: Record,
    spec: Mapping[str, Any],
    images: Images,
    note: Any,
    kept: list[Kept],
    sources: Mapping[str, str],
    make_groups: tuple[Op, ...],
    lock: int,
) -> Started:
    """Start CRIU in the groups, ask it for the processes, and keep the record of the first."""
    directory = records.directory(root, record.id)
    stage, staged = checkpoint.stage(kept, sources, record.rootfs, f"{directory}/{STAGE}")
    connection, theirs = channel()
    inherit = {SWRK_FD: theirs, LOCK_FD: lock, NULL_FD: os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)}
    inherited, joins = outside(spec, note, inherit)
    options: dict[str, Value] = {
        **joins,
        "root": f"{directory}/{STAGE}/root",
        "rst_sibling": True,
        "evasive_devices": True,
        "inherit_fd": inherited,
        "ext_mnt": [{"key": point, "val": source} for point, source in staged.items()],
        "cg_root": group_roots(record),
    }
    plan = Plan((*(Op("inherit", (number,)) for number in inherit), *make_groups), swrk(images.path, stage))
    try:
        started = perform(plan, directory, inherit=inherit, lock=lock, on_started=lambda pid: None)
        life.release(directory)
    finally:
        for fd in (fd for number, fd in inherit.items() if number != LOCK_FD):
            os.close(fd)
    # CRIU mounts below the directory that it works in, which has to be one of its own mount namespace.
    fds = [open_directory(f"/proc/{started.pid}/root{path}") for path in (images.directory, images.work)]
    options |= common(spec, images, fds[0], fds[1], LOG)
    try:
        return talk(root, record, spec, connection, started.pid, criu.request(criu.RESTORE, options))
    except CriuFailed as error:
        raise explained(error, images.path, "restore", f"{images.work}/{LOG}") from None
    finally:
        for fd in fds:
            os.close(fd)


def swrk(path: str, stage: list[Op]) -> tuple[Op, ...]:
    """The process that CRIU is, with mounts that only it sees."""
    words = ("criu", "swrk", str(SWRK_FD))
    return (
        Op("namespaces", (KINDS["mount"],)),
        Op("private-mounts"),
        *stage,
        *(Op("argument", (word,)) for word in words),
        Op("environment", (f"PATH={search_path(os.environ.get('PATH', ''))}",)),
        Op("exec", (path,)),
    )


def outside(spec: Mapping[str, Any], note: Any, inherit: dict[int, int]) -> tuple[list[Value], dict[str, Value]]:
    """What takes the place of streams and namespaces that are not in the images; adds to the descriptors CRIU gets.

    Raises:
        InvalidRequest: a namespace is not there, or of a kind that cannot be joined.
    """
    found: dict[str, int] = {}
    for number, (key, path) in enumerate(note["streams"]):
        if key:
            found.setdefault(key, NULL_FD if path == checkpoint.NULL else number)
    joins: list[Value] = []
    for index, (kind, path) in enumerate(joined(spec)):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidRequest(f"linux.namespaces: {path}: {error.strerror}") from None
        if kind in EXTERNAL_NAMESPACES:
            inherit[FIRST_NAMESPACE_FD + index] = fd
            found[EXTERNAL_NAMESPACES[kind][1]] = FIRST_NAMESPACE_FD + index
            continue
        os.close(fd)
        if kind == "cgroup":
            raise InvalidRequest("linux.namespaces: CRIU joins no cgroup namespace")
        joins.append({"ns": NAMES.get(kind, kind), "ns_file": path})
    return [{"key": key, "fd": fd} for key, fd in found.items()], {"join_ns": joins}


def group_roots(record: Record) -> list[Value]:
    """The groups that stand for those of the checkpoint, from the top of each hierarchy."""
    facts = read_facts()
    points = dict(facts.cgroup1)
    found: list[Value] = [
        {"ctrl": name, "path": directory.removeprefix(points[name])} for name, directory in record.legacy
    ]
    if record.unified:
        found.append({"ctrl": "", "path": record.unified.removeprefix(facts.cgroup2)})
    return found


def talk(root: str, record: Record, spec: Mapping[str, Any], connection: Any, criu_pid: int, request: bytes) -> Started:
    """Ask, run the hooks where it is their time, and write down who the process is before it runs."""
    hooks, terminal = hooks_of(root, record, spec), -1

    def on_notify(said: Answer, fd: int) -> None:
        nonlocal terminal
        if said.script == "setup-namespaces":
            hooks(said.pid)
        elif said.script == "orphan-pts-master":
            terminal = fd
        elif said.script == "post-restore":
            kept = record._replace(pid=said.pid, start_time=records.start_time(said.pid), created=now())
            records.save(root, kept)

    try:
        pid = converse(connection, request, on_notify).pid
    finally:
        connection.close()
        os.waitpid(criu_pid, 0)
    return Started(pid, terminal)
