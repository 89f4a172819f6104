"""A container whose caller is not root of this machine, but of a user namespace, as rootless Podman is, or of none."""

from __future__ import annotations

import os

from twinhull.errors import HostUnfit
from twinhull.host import files
from twinhull.host.facts import read
from twinhull.model import Facts
from twinhull.plan.bundle_cgroups import Cgroup
from twinhull.plan.own_users import MAPPINGS, foreign, outer_words, rows_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from twinhull.errors import LaunchError


def reachable(facts: Facts, cgroup: Cgroup, *, named: bool) -> tuple[Facts, Cgroup]:
    """Return both without the groups that may not be made, v2 as if its hierarchy began with what is the caller's.

    Args:
        named: the spec says where the group is; else it is below the highest that is the caller's.
    """
    top, unified = delegated(facts.cgroup2), cgroup.unified
    if top and not named:
        unified = top + unified.removeprefix(facts.cgroup2)
    if not top or not unified.startswith(f"{top}/"):
        top = unified = ""
    legacy = tuple(row for row in cgroup.legacy if may_make(row[1]))
    points = tuple(row for row in facts.cgroup1 if row[0] in {name for name, _ in legacy})
    mine = facts._replace(cgroup2=top, cgroup2_controllers=controllers(top), cgroup1=points)
    return mine, Cgroup(unified, legacy)


def delegated(unified: str) -> str:
    """The highest v2 group above this process that is the caller's, "" without one.

    One that is not above it is of no use: the kernel moves a process only within what its mover may change.
    """
    from twinhull.host import rootless

    own = rootless.own_group(read("/proc/self/cgroup"))
    return next(filter(rootless.is_delegated, rootless.groups_above(unified, own)), "")


def controllers(top: str) -> tuple[str, ...]:
    """What can be switched on below a group: nothing more while it has processes of its own."""
    if not top:
        return ()
    file = "subtree_control" if files.read(f"{top}/cgroup.procs") else "controllers"
    return tuple(files.read(f"{top}/cgroup.{file}").decode().split())


def may_make(group: str) -> bool:
    """True if the v1 group is the caller's, or can be made below one that is."""
    while not os.path.isdir(group):
        group = os.path.dirname(group)
    return all(os.access(f"{group}{file}", os.W_OK) for file in ("", "/cgroup.procs"))


def kin(pid: int, *, shares_pids: bool) -> list[int]:
    """Pids of a container that is in no cgroup, by one of its processes: those in its pid namespace, or its users'.

    A pid namespace that is shared with another container says nothing.
    """
    for kind in ("user",) if shares_pids else ("pid", "user"):
        own = namespace(pid, kind)
        if own and own != namespace(os.getpid(), kind):
            found = (int(name) for name in os.listdir("/proc") if name.isdecimal())
            return sorted(every for every in found if namespace(every, kind) == own)
    return [pid]


def namespace(pid: int, kind: str) -> str:
    """The name of a process's namespace, "" for one that has ended or is another's."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def with_maps(linux: Mapping[str, Any]) -> Mapping[str, Any]:
    """linux with mappings where a new user namespace has none, as crun fills them in: the user, and his numbers."""
    from twinhull.host import rootless

    made = any(row.get("type") == "user" and not row.get("path") for row in linux.get("namespaces") or ())
    if not made or any(linux.get(key) for key in MAPPINGS):
        return linux
    user = rootless.owner()
    try:
        words = [words for _, words in rootless.read_maps(user)]
    except HostUnfit:
        words = [["0", str(own), "1"] for own in (user.uid, user.gid)]
    return {**linux, **{key: rows_of(row) for key, row in zip(MAPPINGS, words, strict=True)}}


def write_maps(pid: int, linux: Mapping[str, Any]) -> None:
    """Have the numbers of a spec's mappings mapped, as themselves, in the user namespace of a process of ours.

    Raises:
        HostUnfit: they are not the user's, or a tool is missing; the message says which.
    """
    from twinhull.host import rootless

    user = rootless.owner()
    for tool, file, key, own in (
        ("newuidmap", "/etc/subuid", "uidMappings", user.uid),
        ("newgidmap", "/etc/subgid", "gidMappings", user.gid),
    ):
        ranges = rootless.subordinate(rootless.read_text(file), user)
        if missing := foreign(linux[key], own, ranges):
            command = "" if ranges else f": {rootless.add_command(user)}"
            raise HostUnfit(f"linux.{key}: {file} does not give {user.name} {missing}{command}")
        try:
            rootless.write_map(tool, pid, outer_words(linux[key], own))
        except HostUnfit as error:
            repair = f": {error.hint}" if error.hint == rootless.INSTALL_UIDMAP else ""
            raise HostUnfit(f"linux.{key}: {error.message}{repair}") from None


def refused(error: LaunchError) -> HostUnfit:
    """The error for a user namespace that could not be made or entered."""
    from twinhull.host.rootless import user_namespace_hint

    reason = os.strerror(error.errno)
    if error.target:
        return HostUnfit(f"linux.namespaces: the user namespace {error.target} cannot be entered: {reason}")
    return HostUnfit(f"linux.namespaces: no user namespace can be made without root: {reason}: {user_namespace_hint()}")
