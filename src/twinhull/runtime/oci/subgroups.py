"""`exec --cgroup`: a group below the container's, for all controllers or for some that cgroup v1 has."""

from __future__ import annotations

import os

from twinhull.errors import InvalidRequest
from twinhull.plan.bundle_cgroups import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def below(cgroup: Cgroup, words: Sequence[str]) -> Cgroup:
    """Return the groups that words like `PATH` or `CONTROLLER,CONTROLLER:PATH` name; nothing is made.

    Without controllers it is wherever there is such a group: in a hierarchy of v1, or in v2.

    Raises:
        InvalidRequest: a path that leads out or is not there, or a controller that is no hierarchy's.
    """
    for word in words:
        names, colon, path = word.rpartition(":")
        if ".." in path.split("/"):
            raise InvalidRequest(f"--cgroup {word}: not below the container's group")
        if below_it := f"/{path.strip('/')}".rstrip("/"):
            cgroup = chosen(cgroup, below_it, names.split(",") if colon else [], word)
        elif colon:
            directories(cgroup, names.split(","), word)
    return cgroup


def chosen(cgroup: Cgroup, path: str, controllers: Sequence[str], word: str) -> Cgroup:
    """One word's groups."""
    wanted = directories(cgroup, controllers, word)
    there = [directory for directory in wanted if os.path.isdir(directory + path)]
    if not there or (controllers and len(there) < len(wanted)):
        raise InvalidRequest(f"--cgroup {word}: the container's group has no such group below it")
    legacy = tuple((name, directory + path * (directory in there)) for name, directory in cgroup.legacy)
    return Cgroup(cgroup.unified + path * (cgroup.unified in there), legacy)


def directories(cgroup: Cgroup, controllers: Sequence[str], word: str) -> list[str]:
    """The groups of these controllers, of none: all."""
    if not controllers:
        return [directory for directory in (cgroup.unified, *dict(cgroup.legacy).values()) if directory]
    if unknown := [name for name in controllers if name not in dict(cgroup.legacy)]:
        raise InvalidRequest(f"--cgroup {word}: the container is in no hierarchy of cgroup v1 with {unknown[0]!r}")
    return [dict(cgroup.legacy)[name] for name in controllers]
