"""Named volumes: directories of ours that outlive the workloads that see them.

Promise: a volume that a workload has asked for is there until nobody asks for it, whatever dies meanwhile; what an
image has at its place is copied into it once, before anybody sees it.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.engine.state import Home
from twinhull.errors import Conflict, InvalidRequest, NotFound
from twinhull.host import files, locks
from twinhull.model import Image, Instance, Request, Volume
from twinhull.store import instances
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MAX_NAME = 255
CONTENT, ABOUT, FILLED = "_data", "volume.json", "filled"
ANONYMOUS_BYTES = 32


class Row(NamedTuple):
    """One volume.

    Attributes:
        anonymous: nobody named it: it goes with its workload.
        users: names of the workloads that see it, running or not.
        path: its content on the host.
    """

    name: str
    created: float
    labels: tuple[tuple[str, str], ...]
    anonymous: bool
    users: tuple[str, ...]
    path: str


def check_name(name: str) -> str:
    """Return the name.

    Raises:
        InvalidRequest: it is none.
    """
    if not 1 < len(name) <= MAX_NAME or not set(name) <= LETTERS or name[0] in "_.-":
        hint = "two letters or more: [a-zA-Z0-9][a-zA-Z0-9_.-]; a path of the host starts with / or ."
        raise InvalidRequest(f"invalid volume name {name!r}", hint=hint)
    return name


def directory_of(home: Home, name: str) -> str:
    """Where a volume lies."""
    return f"{home.config.state}/volumes/{name}"


def content_of(home: Home, name: str) -> str:
    """What a workload sees of it."""
    return f"{directory_of(home, name)}/{CONTENT}"


# --- for workloads


def check(request: Request) -> None:
    """Refuse what a guest cannot reach by its name: a socket, a pipe or a device of the host's kernel.

    Raises:
        InvalidRequest: it is one.
    """
    for volume in request.volumes if request.isolation == "vm" else ():
        if volume.kind == "bind" and not (os.path.isdir(volume.source) or os.path.isfile(volume.source)):
            raise InvalidRequest(
                f"{volume.source} is neither a file nor a directory: what is behind it is the host's kernel, and a "
                "virtual machine has its own",
                hint="run it as a container, or publish a port with -p",
            )


def inherited(home: Home, request: Request) -> Request:
    """The request with the volumes of the workloads that it names; its own win where both have one.

    Raises:
        NotFound: there is no such workload.
        InvalidRequest: something else than :ro or :rw behind a name.
    """
    taken = {volume.target for volume in request.volumes} | {target for target, _ in request.tmpfs}
    found: dict[str, Volume] = {}
    for text in request.volumes_from:
        name, colon, mode = text.partition(":")
        if colon and mode not in ("ro", "rw"):
            raise InvalidRequest(f"invalid --volumes-from {text!r}", hint="--volumes-from NAME, NAME:ro or NAME:rw")
        theirs = instances.request_from(instances.find(home.db, name).request).volumes
        found |= {
            volume.target: volume._replace(readonly=mode == "ro" or volume.readonly, nocopy=True)
            for volume in theirs
            if volume.target not in taken
        }
    return request._replace(volumes=(*request.volumes, *found.values()), volumes_from=())


def named(image: Image, request: Request) -> Request:
    """The request with a name for each volume that has none: its own, and those that the image declares.

    Raises:
        InvalidRequest: a volume that its isolation cannot have.
    """
    check(request)
    declared: Iterable[str] = ()
    if '"Volumes"' in image.config:
        declared = (jsontext.loads(image.config).get("config") or {}).get("Volumes") or ()
    if not declared and not any(volume.kind == "volume" and not volume.source for volume in request.volumes):
        return request
    taken = {volume.target for volume in request.volumes} | {target for target, _ in request.tmpfs}
    places = dict.fromkeys("/" + os.path.normpath(target).lstrip("/") for target in declared if target[:1] == "/")
    wanted = [Volume("", place, kind="volume") for place in places if place not in ("/", *taken)]
    return request._replace(volumes=tuple(map(with_name, (*request.volumes, *wanted))))


def with_name(volume: Volume) -> Volume:
    """An anonymous volume under a name that nobody has."""
    if volume.kind != "volume" or volume.source:
        return volume
    return volume._replace(source=os.urandom(ANONYMOUS_BYTES).hex(), anonymous=True)


def ensure(home: Home, image: Image, request: Request) -> None:
    """Make the volumes of a workload that is written down, and fill the new ones from the image.

    Raises:
        HostUnfit: what the image has cannot be copied.
    """
    for volume in request.volumes:
        if volume.kind == "volume":
            create(home, volume.source, anonymous=volume.anonymous)
            if not volume.nocopy:
                fill(home, image, volume)


def fill(home: Home, image: Image, volume: Volume) -> None:
    """Copy what the image has at the volume's place, if nothing is in it and nobody has done so."""
    directory = directory_of(home, volume.source)
    if os.path.exists(f"{directory}/{FILLED}"):
        return
    from twinhull.store.copy_up import copy_up

    with locks.locked(f"{directory}/lock"):
        if os.path.exists(f"{directory}/{FILLED}"):
            return
        fresh = f"{directory}/new"
        files.remove_tree(fresh)
        if not os.listdir(f"{directory}/{CONTENT}"):
            files.make_exactly(fresh, 0o755)
            copy_up(home.config, home.db, image, volume.target, fresh)
            os.rename(fresh, f"{directory}/{CONTENT}")
        files.write(f"{directory}/{FILLED}", b"")


def resolved(home: Home, request: Request) -> Request:
    """The request with each volume as the path that it is on the host."""
    if not any(volume.kind == "volume" for volume in request.volumes):
        return request
    return request._replace(
        volumes=tuple(
            volume._replace(source=content_of(home, volume.source)) if volume.kind == "volume" else volume
            for volume in request.volumes
        )
    )


def remove_anonymous(home: Home, instance: Instance) -> None:
    """Delete the volumes that nobody named, with the workload that they were for; another may use them by name."""
    if '"volumes"' not in instance.request:
        return
    for volume in instances.request_from(instance.request).volumes:
        if volume.anonymous and not users(home, volume.source):
            files.remove_tree(directory_of(home, volume.source))


# --- for who looks after them


def create(home: Home, name: str, labels: tuple[tuple[str, str], ...] = (), *, anonymous: bool = False) -> str:
    """Make a volume; one that is there already stays as it is. Return its name."""
    directory = directory_of(home, check_name(name))
    if os.path.isdir(directory):
        return name
    temporary = directory_of(home, f".{os.urandom(8).hex()}")
    files.make_directory(os.path.dirname(directory))
    os.mkdir(temporary, 0o700)
    files.make_exactly(f"{temporary}/{CONTENT}", 0o755)
    about = {"name": name, "created": time.time(), "labels": dict(labels), "anonymous": anonymous}
    files.publish(f"{temporary}/{ABOUT}", jsontext.dumps(about).encode())
    try:
        os.rename(temporary, directory)
    except OSError:  # another command has made it meanwhile
        files.remove_tree(temporary)
    files.sync_directory(os.path.dirname(directory))
    return name


def everything(home: Home) -> list[Row]:
    """All volumes, by name."""
    try:
        names = sorted(os.listdir(f"{home.config.state}/volumes"))
    except FileNotFoundError:
        return []
    used = usage(home)
    rows = (row_of(home, name, used.get(name, ())) for name in names if name[0] != ".")
    return [row for row in rows if row is not None]


def find(home: Home, name: str) -> Row:
    """One volume.

    Raises:
        NotFound: there is none of this name.
    """
    row = row_of(home, name, users(home, name)) if set(name) <= LETTERS else None
    if row is None:
        raise NotFound(f"no such volume: {name}", hint="twinhull volume ls lists them")
    return row


def row_of(home: Home, name: str, seen_by: Iterable[str]) -> Row | None:
    """What is written down of a volume; None if it is gone."""
    try:
        about = jsontext.loads(files.read(f"{directory_of(home, name)}/{ABOUT}"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    labels = tuple(about["labels"].items())
    return Row(name, about["created"], labels, about["anonymous"], tuple(seen_by), content_of(home, name))


def usage(home: Home) -> dict[str, list[str]]:
    """Volume -> names of the workloads that have asked for it."""
    found: dict[str, list[str]] = {}
    for instance in instances.everything(home.db):
        if '"volumes"' in instance.request:
            for volume in instances.request_from(instance.request).volumes:
                if volume.kind == "volume":
                    found.setdefault(volume.source, []).append(instance.name)
    return found


def users(home: Home, name: str) -> tuple[str, ...]:
    """Names of the workloads that have asked for a volume."""
    return tuple(usage(home).get(name, ()))


def remove(home: Home, name: str, *, force: bool = False) -> None:
    """Delete a volume with its content.

    Args:
        force: one that is not there is fine.

    Raises:
        NotFound: there is none.
        Conflict: a workload has asked for it.
    """
    try:
        row = find(home, name)
    except NotFound:
        if force:
            return
        raise
    gone = directory_of(home, f".{os.urandom(8).hex()}")
    # With the lock that a workload is written down under, so that nobody asks for it between the look and the rename.
    home.db.execute("BEGIN IMMEDIATE")
    try:
        if seen_by := users(home, name):
            raise Conflict(f"volume {name} is in use by {', '.join(seen_by)}", hint=f"twinhull rm {seen_by[0]}")
        os.rename(os.path.dirname(row.path), gone)
    finally:
        home.db.execute("ROLLBACK")
    files.remove_tree(gone)


def prune(home: Home, *, everything_unused: bool = False) -> list[str]:
    """Delete the volumes that no workload has asked for: those that nobody named, or all. Return their names."""
    removed = []
    for row in everything(home):
        if not row.users and (row.anonymous or everything_unused):
            try:
                remove(home, row.name, force=True)
            except Conflict:
                continue
            removed.append(row.name)
    return removed
