"""What of a container is not in its images, and is given back at restore: binds of the host, groups, streams. Pure.

A mount whose content is the host's is external: CRIU notes its place, and at restore it is bound there from the source
that the spec of that time has. All others CRIU makes itself, with their content.
"""

from __future__ import annotations

from posixpath import normpath

from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.plan.bundle_mounts import below
from twinhull.plan.ops import Op
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from twinhull.plan.bundle_cgroups import Cgroup

GROUPS = ("cgroup", "cgroup2")
NODES = "devtmpfs"  # the host's nodes, where none can be made, and what hides a file
NULL = "/dev/null"
OWN = ""  # CRIU makes it
ATIME, IDMAPPED = 0x70, 0x100000
# As mountinfo calls them; without one of the times the kernel has relatime.
ATTRIBUTES = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "noatime": 0x10, "nodiratime": 0x80}
ATTRIBUTES |= {"nosymfollow": 0x200000, "idmapped": IDMAPPED}
STAGE_DATA = "mode=711"


class Mount(NamedTuple):
    """A line of /proc/PID/mountinfo.

    Attributes:
        root: what of the file system is mounted.
        attributes: MOUNT_ATTR_* of the mount.
        options: of the file system.
    """

    id: int
    parent: int
    root: str
    point: str
    attributes: int
    kind: str
    options: str


class Kept(NamedTuple):
    """A mount of a container, as the images' directory has it.

    Attributes:
        point: its path in the container.
        origin: OWN, "bind", "groups" or "node".
        name: of a bind the destination in the spec, of groups a controller ("" for v2), of a node its name in /dev.
        rest: what of a bind's source it is.
        below: the point of the mount that has its place.
        is_directory: what that place is.
        attributes: MOUNT_ATTR_* of it.
    """

    point: str
    origin: str
    name: str
    rest: str
    below: str
    is_directory: bool
    attributes: int


def mounts(mountinfo: str) -> list[Mount]:
    """Read /proc/PID/mountinfo; the first is the root."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        words, (kind, _, options) = left.split(), right.split(" ", 2)
        attributes = sum(ATTRIBUTES.get(word, 0) for word in words[5].split(","))
        place = (plain(words[3]), plain(words[4]))
        found.append(Mount(int(words[0]), int(words[1]), *place, attributes, kind, options))
    return found


def plain(text: str) -> str:
    """A path of mountinfo, in which blanks are octal numbers."""
    first, *others = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)


def bind_targets(spec: Mapping[str, Any], root: str) -> list[str]:
    """The destinations of all binds, as the spec has them but below the container's root."""
    return [below(row.get("destination") or "", root) for row in spec.get("mounts") or () if is_bind(row)]


def is_bind(row: Mapping[str, Any]) -> bool:
    """True if a mount of a spec shows what is there already."""
    options = set(row.get("options") or ())
    return "remount" not in options and (row.get("type") == "bind" or bool({"bind", "rbind"} & options))


def keep(found: list[Mount], targets: Mapping[str, str], is_directory: Callable[[str], bool]) -> Iterator[Kept]:
    """Say of each mount but the root who makes it.

    Args:
        targets: where the destinations of binds lead to in the container -> as the spec has them.

    Raises:
        UnsupportedSpec: one is an idmapped mount.
    """
    points = {mount.id: mount.point for mount in found}
    bound: set[str] = set()
    for mount in found[1:]:
        origin, name, rest = OWN, "", ""
        parent = points.get(mount.parent, "/")
        target = mount.point if mount.point in targets else parent if parent in bound else ""
        if mount.attributes & IDMAPPED:
            raise UnsupportedSpec(f"checkpoint: {mount.point} is seen through maps, of which CRIU knows nothing")
        if target:
            target = next(one for one in ancestors(target) if one in targets)
            origin, name, rest = "bind", targets[target], mount.point[len(target) :]
            bound.add(mount.point)
        elif mount.kind in GROUPS:
            origin, name = "groups", controller(mount)
        elif mount.kind == NODES:
            origin, name = "node", mount.root
        yield Kept(mount.point, origin, name, rest, parent, is_directory(mount.point), mount.attributes)


def ancestors(path: str) -> Iterator[str]:
    """The path, and those above it."""
    while path not in ("", "/"):
        yield path
        path = path.rpartition("/")[0]


def controller(mount: Mount) -> str:
    """The first controller of a v1 hierarchy, "" for v2."""
    if mount.kind == "cgroup2":
        return ""
    words = (word for word in mount.options.split(",") if word not in ("rw", "ro"))
    return next((word for word in words if not word.startswith(("xattr", "release_agent", "clone_"))), "")


def sources(kept: Iterable[Kept], spec: Mapping[str, Any], bundle: str, root: str, cgroup: Cgroup) -> dict[str, str]:
    """Return point -> path on the host of all that CRIU does not make.

    Raises:
        InvalidRequest: the spec has not what the container had, or this machine has no such group.
    """
    binds = {}
    for row in spec.get("mounts") or ():
        if is_bind(row):
            binds[below(row.get("destination") or "", root)] = normpath(f"{bundle}/{row.get('source') or ''}")
            if (row.get("source") or "").startswith("/"):
                binds[below(row["destination"], root)] = normpath(row["source"])
    found = {}
    for mount in kept:
        if mount.origin == "bind":
            if mount.name not in binds:
                raise InvalidRequest(
                    f"mounts: the container that was saved has a bind at {mount.name}, the bundle none"
                )
            found[mount.point] = binds[mount.name] + mount.rest
        elif mount.origin == "groups":
            directory = dict(cgroup.legacy).get(mount.name, "") if mount.name else cgroup.unified
            if not directory:
                raise InvalidRequest(f"{mount.point}: this machine has no cgroup hierarchy {mount.name or 'v2'!r}")
            found[mount.point] = directory
        elif mount.origin == "node":
            found[mount.point] = f"/dev{mount.name}"
    return found


def stage(kept: Iterable[Kept], found: Mapping[str, str], root: str, place: str) -> tuple[list[Op], dict[str, str]]:
    """Return the ops that bind all these sources below a place of CRIU's own mount namespace, and point -> path there.

    CRIU sees to it that a mount has its flags, but not for the second of two of one file system with equal flags. So
    each has them already where CRIU takes it from. The root is there, too, for CRIU wants it to be a mount.
    """
    ops = [Op("filesystem", ("tmpfs", "tmpfs", place, 0, STAGE_DATA)), Op("bind", (root, f"{place}/root", 1, 0))]
    staged = {}
    for index, mount in enumerate(row for row in kept if row.point in found):
        staged[mount.point] = f"{place}/{index}"
        ops.append(Op("bind", (found[mount.point], staged[mount.point], 0, 0)))
        if mount.attributes:
            times = ATIME if mount.attributes & ATIME else 0
            ops.append(Op("attributes", (staged[mount.point], mount.attributes, times, 0, 0)))
    return ops, staged


def places(kept: Iterable[Kept], found: Mapping[str, str], root: str) -> Iterator[tuple[str, str, bool]]:
    """Where mounts will be made on what is the host's: (a directory of the host's, the path in it, is a directory)."""
    for mount in kept:
        top = root if mount.below == "/" else found.get(mount.below, "")
        if top:
            yield top, mount.point[len(mount.below.rstrip("/")) :], mount.is_directory


def stream_key(link: str, mount: int, inode: int, known: Iterable[int]) -> str:
    """What CRIU calls a standard stream that comes from outside; "" for one of the container's own.

    Args:
        link: of /proc/PID/fd.
        mount: its mnt_id in fdinfo.
        known: the ids of the container's mounts.
    """
    if link.startswith(("pipe:", "socket:")):
        return link
    return f"file[{mount:x}:{inode:x}]" if link.startswith("/") and mount not in known else ""
