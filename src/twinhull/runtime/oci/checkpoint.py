"""checkpoint: a running container's processes become files, which `restore` makes processes of again.

Promise: it goes on as if nothing had been, or it has ended and its images are whole. When this command is killed in the
middle, CRIU does the first.
"""

from __future__ import annotations

import os
import stat

from twinhull import jsontext
from twinhull.errors import HostUnfit, InvalidRequest, UnsupportedSpec
from twinhull.host import files
from twinhull.host.spawn import spawn
from twinhull.plan import checkpoint, criu
from twinhull.runtime.oci import life, notify
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.criu import (
    CONFIG,
    CONFIG_ANNOTATION,
    LOG_LEVEL,
    CriuFailed,
    channel,
    converse,
    explained,
    find,
    open_directory,
)
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from twinhull.plan.criu import Value
    from twinhull.runtime.oci.record import Record

LOG, SWRK_FD = "dump.log", 3
NOTE = "twinhull.json"  # in the images' directory: what CRIU does not keep
LINKS = 40  # as many as the kernel follows
TRIES = 3
EXTERNAL_NAMESPACES = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}


class Images(NamedTuple):
    """Where CRIU is, and where it reads and writes.

    Attributes:
        path: its program, or a name that is looked up.
        directory: of the images, without a symbolic link in it.
        work: of its log and statistics, without one, too.
        options: what the caller wants of it, by the names of its rpc.proto.
    """

    path: str
    directory: str
    work: str
    options: Mapping[str, Value]


class Demand(NamedTuple):
    """What else is asked of a checkpoint.

    Attributes:
        first: write the memory only, as parent of the images to come; the container goes on.
        stays: it goes on.
    """

    first: bool
    stays: bool


def take(root: str, identity: str, images: Images, demand: Demand, warn: Callable[[str], None]) -> None:
    """Write a container to its images, and remove it unless it shall go on.

    Raises:
        Conflict: it does not run.
        HostUnfit: it is a virtual machine, or CRIU does not work here.
        UnsupportedSpec: it has no mount namespace of its own.
        CriuFailed: CRIU could not; the container goes on.
    """
    with life.locked(root, identity):
        record = records.load(root, identity)
        if records.GUEST in record.marks:
            raise HostUnfit("checkpoint: of a virtual machine there is none")
        records.require(root, record, "running", "paused", doing="checkpoint")
        dump(root, record, images._replace(path=find(images.path)), demand)
    if not demand.first and not demand.stays:
        life.delete(root, identity, force=True, warn=warn)  # unless a `run` that waited for it has


def dump(root: str, record: Record, images: Images, demand: Demand) -> None:
    """Have CRIU write it."""
    spec = records.config(root, record.id)
    namespaces = (spec.get("linux") or {}).get("namespaces") or ()
    if not any(row["type"] == "mount" and not row.get("path") for row in namespaces):
        raise UnsupportedSpec("linux.namespaces: CRIU saves no container whose mounts are another's")
    for left in reversed(range(TRIES)):
        described = describe(root, record, spec)
        try:
            dump_described(record, images, demand, spec, *described)
        except CriuFailed as error:
            # A shell that redirects a stream for a moment has another file there when CRIU stops it.
            if not left or not has_changed(root, record, spec, described):
                raise explained(error, images.path, "checkpoint", f"{images.work}/{LOG}") from None
        else:
            return


def dump_described(
    record: Record, images: Images, demand: Demand, spec: Mapping[str, Any], outside: dict[str, Value], note: Any
) -> None:
    """The same, with what `describe` has found."""
    directory_fd, work_fd = open_directory(images.directory), open_directory(images.work)
    if not demand.first:
        files.replace(f"{images.directory}/{NOTE}", jsontext.dumps(note).encode("utf-8", "surrogateescape"))
    options = {
        **common(spec, images, directory_fd, work_fd, LOG),
        **outside,
        "root": record.rootfs,
        "pid": record.pid,
        **({"track_mem": True} if demand.first else {}),
    }
    # The one that `pause` uses: CRIU waits for ever for what another keeps frozen.
    if freezer := record.unified or dict(record.legacy).get("freezer"):
        options["freeze_cgroup"] = freezer
    try:
        ask(images.path, criu.request(criu.PRE_DUMP if demand.first else criu.DUMP, options))
    finally:
        os.close(directory_fd)
        os.close(work_fd)


def has_changed(root: str, record: Record, spec: Mapping[str, Any], described: tuple[Any, Any]) -> bool:
    """True if a process is there, and not as it was described."""
    try:
        return describe(root, record, spec) != described
    except OSError:
        return False


def common(spec: Mapping[str, Any], images: Images, directory_fd: int, work_fd: int, log: str) -> dict[str, Value]:
    """What both ways have; of its old log nothing is left, for an error is looked up in it."""
    files.remove_file(f"{images.work}/{log}")
    settings = (spec.get("annotations") or {}).get(CONFIG_ANNOTATION, CONFIG)
    return {
        "images_dir_fd": directory_fd,
        "work_dir_fd": work_fd,
        "log_level": LOG_LEVEL,
        "log_file": log,
        "notify_scripts": True,
        "orphan_pts_master": True,
        **({"config_file": settings} if settings else {}),
        **images.options,
    }


def ask(path: str, request: bytes) -> None:
    """Start CRIU, ask it for one thing, and let it end."""
    connection, theirs = channel()
    try:
        pid = spawn(path, ["criu", "swrk", str(SWRK_FD)], {SWRK_FD: theirs})
    finally:
        os.close(theirs)
    try:
        converse(connection, request, lambda said, fd: None)
    finally:
        connection.close()
        os.waitpid(pid, 0)


def describe(root: str, record: Record, spec: Mapping[str, Any]) -> tuple[dict[str, Value], dict[str, Any]]:
    """What CRIU has to know of what is outside, and what restore has to know."""
    process = f"/proc/{record.pid}"
    found = checkpoint.mounts(files.read(f"{process}/mountinfo").decode("utf-8", "surrogateescape"))
    targets = checkpoint.bind_targets(spec, record.rootfs)
    if os.path.isdir(f"{records.directory(root, record.id)}/notify"):
        targets.append(notify.INSIDE)
    leads = {resolve(f"{process}/root", target): target for target in targets}
    kept = list(checkpoint.keep(found, leads, lambda point: os.path.isdir(f"{process}/root{point}")))
    streams = [stream(process, number, [mount.id for mount in found]) for number in range(3)]
    external: list[Value] = [key for key, _ in streams if key.startswith("file[")]
    for kind, path in joined(spec):
        if kind in EXTERNAL_NAMESPACES:
            name, key = EXTERNAL_NAMESPACES[kind]
            external.append(f"{name}[{os.stat(path).st_ino}]:{key}")
    own: list[Value] = [{"key": row.point, "val": row.point} for row in kept if row.origin != checkpoint.OWN]
    note = {"mounts": [list(row) for row in kept], "streams": streams}
    return {"external": list(dict.fromkeys(external)), "ext_mnt": own}, note


def joined(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Type and path of the namespaces that are others'."""
    for row in (spec.get("linux") or {}).get("namespaces") or ():
        if row.get("path"):
            yield row["type"], row["path"]


def stream(process: str, number: int, known: list[int]) -> tuple[str, str]:
    """What CRIU calls a standard stream that comes from outside, else ""; and its path."""
    try:
        link = os.readlink(f"{process}/fd/{number}")
        lines = files.read(f"{process}/fdinfo/{number}").decode().splitlines()
        inode = os.stat(f"{process}/fd/{number}").st_ino
    except FileNotFoundError:  # closed
        return "", ""
    mount = next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
    return checkpoint.stream_key(link, mount, inode, known), link


def resolve(top: str, path: str) -> str:
    """Where a path of the container's leads to, as the container sees it.

    Raises:
        InvalidRequest: its links go round in a circle.
    """
    waiting, at, links = [part for part in reversed(path.split("/")) if part], "", 0
    while waiting:
        part = waiting.pop()
        if part in (".", ".."):
            at = at.rpartition("/")[0] if part == ".." else at
            continue
        try:
            is_link = stat.S_ISLNK(os.lstat(f"{top}{at}/{part}").st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_link = False
        if not is_link:
            at += f"/{part}"
            continue
        links += 1
        if links > LINKS:
            raise InvalidRequest(f"mounts: {path} is a link that leads to itself")
        link = os.readlink(f"{top}{at}/{part}")
        at = "" if link.startswith("/") else at
        waiting += [piece for piece in reversed(link.split("/")) if piece]
    return at
