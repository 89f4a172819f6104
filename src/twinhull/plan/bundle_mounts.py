"""The mounts of an OCI bundle as ops: any option, any cgroup mode. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.plan.cgroups import hierarchies
from twinhull.plan.compile import id_map
from twinhull.plan.mount_options import RDONLY, Change, Options, split_options
from twinhull.plan.namespaces import MS_REC, NOT_PRIVATE
from twinhull.plan.ops import Op
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from twinhull.model import Facts

BIND_TREE, BIND_PEERS, BIND_MAPS_TREE, BIND_INSIDE = 1, 2, 4, 8  # the `recursive` of a bind op
NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8


class Place(NamedTuple):
    """Where a bundle's mounts are made.

    Attributes:
        bundle: relative sources begin here.
        root: of the file system, on the host.
        cgroup: the workload's path in each hierarchy.
        own_cgroups: it has a cgroup namespace.
        own_users: it has a user namespace.
        own_mounts: it has a mount namespace that is nobody else's.
    """

    bundle: str
    root: str
    cgroup: str
    facts: Facts
    own_cgroups: bool
    own_users: bool
    own_mounts: bool = True


def compile_bundle_mounts(mounts: list[Mapping[str, Any]], place: Place) -> tuple[list[Op], list[Op]]:
    """Return the ops of the mounts in the order of the spec, and those that come after the device nodes.

    Raises:
        InvalidRequest, UnsupportedSpec: what the field named in the message says cannot be done.
    """
    now: list[Op] = []
    late: list[Op] = []
    targets: list[str] = []
    for index, mount in enumerate(mounts):
        field = f"mounts[{index}]"
        kind = mount.get("type") or ""
        options = split_options(mount.get("options") or (), field, bind=int(kind == "bind"))
        target = below(mount.get("destination") or "", place.root) or "/"
        if target == "/":
            raise InvalidRequest(f"{field}.destination: {mount.get('destination')!r} is no place for a mount")
        if not place.own_mounts and any(flag & NOT_PRIVATE for flag in options.propagation):
            raise UnsupportedSpec(f"{field}.options: other than private takes a new mount namespace")
        if options.copy_up and (kind != "tmpfs" or options.bind or options.remount):
            raise InvalidRequest(f"{field}.options: 'tmpcopyup' is for a tmpfs")
        if options.remount:
            if not options.bind:
                now.append(Op("remount", (target, ",".join(options.data))))
            own, closed = closed_late(target, options.own) if target == "/dev" else (options.own, [])
            now += changes(target, options, own)
            late += closed
        elif options.bind:
            now += bind(mount, target, options, place, field, targets)
        elif kind == "cgroup":
            made, closed = cgroups(target, options, place)
            now += made
            late += closed
        else:
            made, closed = filesystem(mount, target, options, field)
            now += made
            late += closed
        targets.append(target)
    return now, late


def below(path: str, root: str) -> str:
    """A path as one of the root's, if it is written as one of the host's: as runc reads a destination."""
    inside = path[len(root) :] if f"{path}/".startswith(f"{root}/") else path
    return "/" + inside.strip("/")


def is_mounted(path: str, targets: Iterable[str]) -> bool:
    """True if something is mounted at a path of the root, above it or below it."""
    return any(f"{path}/".startswith(f"{one}/") or f"{one}/".startswith(f"{path}/") for one in targets)


def changes(target: str, options: Options, own: Change) -> Iterator[Op]:
    """What a mount becomes once it is there."""
    if own.on or own.off:
        yield Op("attributes", (target, own.on, own.off, 0, 0))
    if options.tree.on or options.tree.off:
        yield Op("attributes", (target, options.tree.on, options.tree.off, 1, 0))
    for flag in options.propagation:
        yield Op("attributes", (target, 0, 0, int(bool(flag & MS_REC)), flag & ~MS_REC))


def bind(
    mount: Mapping[str, Any], target: str, options: Options, place: Place, field: str, there: list[str]
) -> Iterator[Op]:
    """A tree of the host's, seen through maps if it has any; of the root's with what is mounted `there` before it."""
    source = mount.get("source") or ""
    if not source:
        raise InvalidRequest(f"{field}.source: a bind needs one")
    if not source.startswith("/"):
        source = f"{place.bundle}/{source}"
    how = BIND_TREE if options.bind == 2 else 0
    if place.root and f"{source}/".startswith(f"{place.root}/") and is_mounted(below(source, place.root), there):
        source, how = below(source, place.root), how | BIND_INSIDE
    if options.propagation and not all(flag & ~MS_REC in (1 << 18, 1 << 17) for flag in options.propagation):
        how |= BIND_PEERS
    users, groups = mount.get("uidMappings") or [], mount.get("gidMappings") or []
    if users or groups or options.idmap:
        if bool(users) != bool(groups):
            raise InvalidRequest(f"{field}.uidMappings: they come with gidMappings, or not at all")
        if not users and not place.own_users:
            raise InvalidRequest(f"{field}.options: {options.idmap!r} needs mappings or a user namespace")
        how |= BIND_MAPS_TREE if options.idmap == "ridmap" else 0
        yield Op("bind-idmapped", (source, target, how, 0, id_map(users), id_map(groups)))
    else:
        yield Op("bind", (source, target, how, 0))
    yield from changes(target, options, options.own)


def closed_late(target: str, own: Change) -> tuple[Change, list[Op]]:
    """What changes at once, and what makes it read-only when its contents are there."""
    if not own.on & RDONLY:
        return own, []
    return Change(own.on & ~RDONLY, own.off), [Op("attributes", (target, RDONLY, 0, 0, 0))]


def filesystem(mount: Mapping[str, Any], target: str, options: Options, field: str) -> tuple[list[Op], list[Op]]:
    """A new file system; one in memory is closed for writing only after others found their place in it."""
    kind = mount.get("type") or ""
    if not kind or kind == "none":
        raise InvalidRequest(f"{field}.type: {kind!r} without the option 'bind' is no file system")
    if mount.get("uidMappings") or options.idmap:
        raise UnsupportedSpec(f"{field}.uidMappings: only a bind can be seen through maps")
    own, late = closed_late(target, options.own) if kind == "tmpfs" else (options.own, [])
    name = "filesystem-copied" if options.copy_up else "filesystem"
    made = [Op(name, (kind, mount.get("source") or kind, target, own.on, ",".join(options.data)))]
    return [*made, *changes(target, options, Change())], late


def cgroups(target: str, options: Options, place: Place) -> tuple[list[Op], list[Op]]:
    """The hierarchies that this machine has: v2 alone, or a directory of all of v1's."""
    attributes = options.own.on
    if place.facts.rootless and not (place.own_cgroups and place.facts.cgroup2):
        return [Op("bind", ("/sys/fs/cgroup", target, BIND_TREE, attributes | RDONLY))], []
    if not place.facts.cgroup1:
        return [Op("filesystem", ("cgroup2", "cgroup", target, attributes, ""))], []
    if not place.cgroup:  # no group of its own: what is bound is the machine's
        attributes |= RDONLY
    now = [Op("filesystem", ("tmpfs", "tmpfs", target, NOSUID_NODEV_NOEXEC, "mode=755"))]
    for point, controllers in hierarchies(place.facts).items():
        below = f"{target}/{point.rpartition('/')[2]}"
        if place.own_cgroups:
            names = ["none", *controllers] if controllers[0].startswith("name=") else controllers
            now.append(Op("filesystem", ("cgroup", "cgroup", below, attributes, ",".join(names))))
        else:
            now.append(Op("bind", (point + place.cgroup, below, 0, attributes)))
    closed = [Op("attributes", (target, RDONLY, 0, 0, 0))] if attributes & RDONLY else []
    return now, closed
