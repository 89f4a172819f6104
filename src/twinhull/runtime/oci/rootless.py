"""The cgroups of a container whose caller is root of a user namespace alone, as rootless Podman is."""

from __future__ import annotations

import os

from twinhull.model import Facts
from twinhull.plan.bundle_cgroups import Cgroup


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
