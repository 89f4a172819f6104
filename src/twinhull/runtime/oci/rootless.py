"""A container whose caller is not root of this machine, but of a user namespace, as rootless Podman is, or of none."""

from __future__ import annotations

import os

from twinhull.errors import HostUnfit
from twinhull.model import Facts
from twinhull.plan.bundle_cgroups import Cgroup
from twinhull.plan.own_users import foreign, outer_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from twinhull.errors import LaunchError


def reachable(facts: Facts, cgroup: Cgroup) -> tuple[Facts, Cgroup]:
    """Return both without the groups that may not be made; no controller is switched on below what is the caller's."""
    unified = cgroup.unified if cgroup.unified and may_make(cgroup.unified) else ""
    legacy = tuple(row for row in cgroup.legacy if may_make(row[1]))
    named = {name for name, _ in legacy}
    points = tuple(row for row in facts.cgroup1 if row[0] in named)
    mine = facts._replace(cgroup2=facts.cgroup2 if unified else "", cgroup2_controllers=(), cgroup1=points)
    return mine, Cgroup(unified, legacy)


def may_make(group: str) -> bool:
    """True if the group is the caller's, or can be made below one that is."""
    while not os.path.isdir(group):
        group = os.path.dirname(group)
    return all(os.access(f"{group}{file}", os.W_OK) for file in ("", "/cgroup.procs"))


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

    return HostUnfit(f"linux.namespaces: a user namespace without root: {error.message}: {user_namespace_hint()}")
