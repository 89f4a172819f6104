"""The namespaces of an OCI spec: those that are made, and those of the host's that are joined. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.plan.compile import CLONE_FLAGS, id_map
from twinhull.plan.netlink import LOOPBACK_INDEX, link_up
from twinhull.plan.ops import Op
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

KINDS = {**CLONE_FLAGS, "network": 0x40000000, "time": 0x00000080}
CLOCKS = ("monotonic", "boottime")
MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE = 0x4000, 1 << 18, 1 << 19, 1 << 20, 1 << 17
PROPAGATION = {
    "private": MS_PRIVATE,
    "slave": MS_SLAVE,
    "shared": MS_SHARED,
    "unbindable": MS_UNBINDABLE,
}
HOSTS_MOUNTS = "/proc/self/ns/mnt"
NOT_PRIVATE = MS_SLAVE | MS_SHARED | MS_UNBINDABLE
PROPAGATION |= {f"r{name}": flag | MS_REC for name, flag in PROPAGATION.items()}


class Namespaces(NamedTuple):
    """What there is of each kind.

    Attributes:
        made: kinds of new namespaces.
        joined: kind -> path of a namespace that is there.
        host, child: the ops of the two stages, the child's first.
    """

    made: frozenset[str]
    joined: dict[str, str]
    host: tuple[Op, ...]
    child: tuple[Op, ...]

    @property
    def own_mounts(self) -> bool:
        """True if the workload has a mount namespace of its own."""
        return "mount" in self.made

    def has(self, kind: str) -> bool:
        """True if the workload does not have the caller's namespace of this kind."""
        return kind in self.made or kind in self.joined


def compile_namespaces(linux: Mapping[str, Any], *, rootless: bool = False) -> Namespaces:
    """Return the namespaces of linux.namespaces with their maps, offsets and propagation.

    Without a mount namespace of its own the workload goes on in another's once its root is made, in one of ours.

    Raises:
        InvalidRequest: an unknown or a repeated type, maps without their namespace or the reverse.
        UnsupportedSpec: a mount namespace that the workload has no right over, or that shall get or spread mounts.
    """
    made, joined = sort(linux.get("namespaces") or ())
    spread = linux.get("rootfsPropagation") or "rslave"
    if spread not in PROPAGATION:
        raise InvalidRequest(f"linux.rootfsPropagation: unknown value {spread!r}")
    if "mount" not in made:
        check_foreign_mounts(linux, made, joined, rootless=rootless)
    entered = joined if "mount" in made else {"mount": HOSTS_MOUNTS, **joined}
    host = [Op("join-namespace", (KINDS[kind], path)) for kind, path in entered.items()]
    if "network" in made:
        host += [Op("netns"), Op("netlink-inside", (link_up(LOOPBACK_INDEX, ack=True), 1))]
    flags = sum(KINDS[kind] for kind in (made | {"mount"}) - {"network", "time"})
    child = [
        Op("namespaces", (flags,)),
        *id_maps(linux, made, joined, rootless=rootless),
        Op("propagation", (outer(spread),)),
    ]
    return Namespaces(frozenset(made), joined, tuple(host), tuple(child))


def check_foreign_mounts(
    linux: Mapping[str, Any], made: set[str], joined: Mapping[str, str], *, rootless: bool
) -> None:
    """Refuse what a workload without a mount namespace of its own cannot have."""
    if "user" in made or (rootless and "mount" not in joined):
        raise UnsupportedSpec("linux.namespaces: with a new user namespace a new mount namespace is needed")
    if (spread := linux.get("rootfsPropagation") or "") and PROPAGATION[spread] & NOT_PRIVATE:
        raise UnsupportedSpec(f"linux.rootfsPropagation: {spread!r} needs a new mount namespace")


def sort(entries: Any) -> tuple[set[str], dict[str, str]]:
    """Return the kinds that are made, and kind -> path of those that are joined."""
    made: set[str] = set()
    joined: dict[str, str] = {}
    for index, entry in enumerate(entries):
        kind, path = entry.get("type"), entry.get("path") or ""
        if kind not in KINDS:
            raise InvalidRequest(f"linux.namespaces[{index}].type: unknown namespace {kind!r}")
        if kind in made or kind in joined:
            raise InvalidRequest(f"linux.namespaces[{index}].type: {kind} is there twice")
        if path and not path.startswith("/"):
            raise InvalidRequest(f"linux.namespaces[{index}].path: {path!r} is not absolute")
        if path:
            joined[kind] = path
        else:
            made.add(kind)
    return made, joined


def outer(spread: str) -> int:
    """How mounts of the host reach the workload while its root is made: never unbindable, or none could be bound."""
    flag = PROPAGATION[spread] & ~MS_REC
    return MS_REC | (MS_PRIVATE if flag == MS_UNBINDABLE else flag)


def id_maps(linux: Mapping[str, Any], made: set[str], joined: Mapping[str, str], *, rootless: bool) -> Iterator[Op]:
    """The maps of a new user namespace; 0 is who makes the container in it, but for a user without root."""
    users, groups = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    if "user" in made:
        for name, rows in (("uidMappings", users), ("gidMappings", groups)):
            if not rows:
                raise InvalidRequest(f"linux.{name}: a user namespace needs them")
            if not rootless and all(row["containerID"] or not row["size"] for row in rows):
                raise InvalidRequest(f"linux.{name}: 0 must be mapped, for the container is made as that")
        yield Op("id-maps", (id_map(users), id_map(groups)))
    elif (users or groups) and "user" not in joined:
        raise InvalidRequest("linux.uidMappings: there is no user namespace in linux.namespaces")


def time_offsets(linux: Mapping[str, Any], namespaces: Namespaces) -> Iterator[Op]:
    """The op of a new time namespace; /proc must be the workload's own by then."""
    offsets = linux.get("timeOffsets") or {}
    if offsets and "time" not in namespaces.made:
        raise InvalidRequest("linux.timeOffsets: there is no new time namespace in linux.namespaces")
    for clock in offsets:
        if clock not in CLOCKS:
            raise InvalidRequest(f"linux.timeOffsets: unknown clock {clock!r}")
    if "time" in namespaces.made:
        lines = [f"{name} {row.get('secs', 0)} {row.get('nanosecs', 0)}\n" for name, row in offsets.items()]
        yield Op("time-offsets", ("".join(lines),))


def foreign_mounts(linux: Mapping[str, Any]) -> tuple[Op, ...]:
    """The op by which a process comes to be in another's mount namespace, if the spec has no new one."""
    return () if "mount" in sort(linux.get("namespaces") or ())[0] else (Op("foreign-mounts"),)


def inner_propagation(linux: Mapping[str, Any]) -> Iterator[Op]:
    """The propagation of the root itself, once it is entered."""
    if spread := linux.get("rootfsPropagation"):
        yield Op("propagation", (PROPAGATION[spread],))
