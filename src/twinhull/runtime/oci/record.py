"""What is kept of a container: a directory of its own, and in it a document that says which process it is.

Promise: state is derived, not stored. A pid counts only with its start time, and `created` only while its process
waits at the FIFO.

    ROOT/ID/   bundle       a link to it
               config.json  the bundle's, as it was     record  absent while it is created; launcher/front.h has it too
               undo         the plan that removes what is left    exec.fifo, error  see start    lock
"""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.errors import Conflict, InvalidRequest, NotFound
from twinhull.host import files, locks
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_ID = 255  # NAME_MAX: it is a directory's name
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-."
START_TIME = 19  # its place in /proc/PID/stat, counted from the state
POSTSTART, POSTSTOP, SHARES_PIDS, GUEST = "s", "p", "g", "v"  # launcher/front.h


class Record(NamedTuple):
    """One container. Times: `created` in RFC 3339, `start_time` in clock ticks after boot. `marks`: see marks_of."""

    id: str
    bundle: str
    rootfs: str
    created: str
    pid: int
    start_time: int
    version: str
    annotations: dict[str, str]
    unified: str
    legacy: list[list[str]]
    marks: str = ""


def marks_of(spec: Mapping[str, Any], *, guest: bool = False) -> str:
    """What start, kill and delete have to do beside the usual: a letter each, for hooks, a shared pid namespace, a
    virtual machine.

    In one that is shared, the end of the first process is not the end of the others.
    """
    hooks = spec.get("hooks") or {}
    kinds = {entry.get("type"): entry.get("path") for entry in (spec.get("linux") or {}).get("namespaces") or ()}
    marks = [(POSTSTART, hooks.get("poststart")), (POSTSTOP, hooks.get("poststop"))]
    marks.append((SHARES_PIDS, not guest and kinds.get("pid", "shared") not in ("", None)))
    marks.append((GUEST, guest))
    return "".join(letter for letter, there in marks if there)


def check_id(identity: str) -> str:
    """Return an id that may be a directory's name.

    Raises:
        InvalidRequest: it may not.
    """
    if not identity:
        raise InvalidRequest("container id cannot be empty")
    if len(identity) > MAX_ID:
        raise InvalidRequest(f"invalid container id format: {len(identity)} letters, and at most {MAX_ID} are possible")
    if identity in (".", "..") or not all(letter in LETTERS for letter in identity):
        raise InvalidRequest(f"invalid container id format: {identity!r}")
    return identity


def directory(root: str, identity: str) -> str:
    """The directory of a container that may or may not be there."""
    return f"{root}/{check_id(identity)}"


def load(root: str, identity: str) -> Record:
    """Return the record of a container; one that is not complete has pid 0.

    Raises:
        NotFound: there is no such container.
    """
    path = directory(root, identity)
    try:
        row = jsontext.loads(files.read(f"{path}/record").rpartition(b"\0")[2])
    except FileNotFoundError:
        if not os.path.isdir(path):
            raise NotFound(f"container {identity!r} does not exist") from None
        return unmade(path, identity)
    return Record(*[row[field] for field in Record._fields])


def unmade(path: str, identity: str) -> Record:
    """What is known of a container whose process was not there yet."""
    try:
        bundle, version = os.readlink(f"{path}/bundle"), jsontext.loads(files.read(f"{path}/config.json"))["ociVersion"]
    except FileNotFoundError:
        bundle, version = "", ""
    return sketch(identity, bundle, version)


def sketch(identity: str, bundle: str, version: str) -> Record:
    """The record of a container that has no process yet: pid 0."""
    return Record(identity, bundle, "", "", 0, 0, version, {}, "", [])


def begin(path: str, bundle: str, spec: Any) -> None:
    """Keep what is known from the first, so that a maker that is killed leaves it."""
    os.symlink(bundle, f"{path}/bundle")
    files.replace(f"{path}/config.json", jsontext.dumps(spec).encode())


def save(root: str, record: Record) -> None:
    """Write a record; a reader sees the old one or this one.

    First, each ended by a NUL, what the launcher needs for the short verbs (launcher/front.h); then all of it as JSON.
    """
    path = f"{directory(root, record.id)}/record"
    head, status, tail = pretty(document(root, record, "running")).partition('"status": "running"')
    head, tail = head + status.removesuffix('running"'), '"' + tail.removesuffix(f"{record.pid}\n}}\n")
    fields = (
        *(str(record.pid), str(record.start_time), record.unified, dict(record.legacy).get("freezer", "")),
        *(record.marks, head, tail),
    )
    content = "".join(f"{field}\0" for field in fields) + jsontext.dumps(record._asdict())
    files.replace(path, content.encode("utf-8", "surrogateescape"))


def config(root: str, identity: str) -> Any:
    """The container's spec as it was when it was created."""
    return jsontext.loads(files.read(f"{directory(root, identity)}/config.json"))


def start_time(pid: int) -> int:
    """When a process began, 0 if it has ended or was never there."""
    try:
        words = files.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if words[0] in (b"Z", b"X", b"x") else int(words[START_TIME])


def is_alive(record: Record) -> bool:
    """True if its first process has not ended."""
    return bool(record.pid) and start_time(record.pid) == record.start_time


def status(root: str, record: Record) -> str:
    """creating, created, running, paused or stopped, which is also what a maker that was killed left."""
    if not record.pid:
        return "creating" if is_held(directory(root, record.id)) else "stopped"
    if not is_alive(record):
        return "stopped"
    if awaits_start(directory(root, record.id)):
        return "created"
    return "paused" if is_frozen(record) else "running"


def is_held(path: str) -> bool:
    """True if somebody works on a container, or is about to: its maker makes the lock next."""
    return locks.is_held(f"{path}/lock") or not os.path.exists(f"{path}/lock")


def awaits_start(path: str) -> bool:
    """True if somebody reads the FIFO: one that is merely there was left by a `start` that was killed."""
    try:
        os.close(os.open(f"{path}/exec.fifo", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def is_frozen(record: Record) -> bool:
    """True if its cgroup is, or is about to be."""
    freezer = dict(record.legacy).get("freezer")
    try:
        if record.unified and files.read(f"{record.unified}/cgroup.freeze").strip() == b"1":
            return True
        return bool(freezer) and files.read(f"{freezer}/freezer.state").strip() != b"THAWED"
    except (FileNotFoundError, OSError):
        return False


def document(root: str, record: Record, state: str = "") -> dict[str, object]:
    """The state document of runtime-spec, the pid last."""
    state = state or status(root, record)
    shown: dict[str, object] = {
        "ociVersion": record.version,
        "id": record.id,
        "status": state,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": record.annotations,
        "pid": 0 if state == "stopped" else record.pid,
    }
    return shown


def pretty(shown: Mapping[str, object]) -> str:
    """A document with one field a line, for people and for line-wise readers."""
    rows = [f"  {jsontext.dumps(key)}: {jsontext.dumps(value)}" for key, value in shown.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def require(root: str, record: Record, *allowed: str, doing: str) -> str:
    """Return the status.

    Raises:
        Conflict: it is none of these.
    """
    state = status(root, record)
    if state not in allowed:
        raise Conflict(f"cannot {doing} container {record.id!r} in the {state} state: container not running")
    return state
