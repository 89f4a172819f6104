"""The cgroups of an OCI bundle: a group in every hierarchy, so that callers find and can limit it anywhere. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.plan import defaults
from twinhull.plan.cgroups import Groups, enable
from twinhull.plan.devices import compile_devices
from twinhull.plan.ops import Op
from twinhull.plan.resources import check_device, device_lines, settings
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from twinhull.model import Facts


class Cgroup(NamedTuple):
    """Where a container's groups are.

    Attributes:
        unified: directory of the v2 group, "" without v2.
        legacy: (controller, directory) of v1.
    """

    unified: str
    legacy: tuple[tuple[str, str], ...]


NO_GROUPS = Cgroup("", ())


def place(cgroups_path: str, identity: str, facts: Facts) -> Cgroup:
    """Return the directories for linux.cgroupsPath; without one the container's id names them.

    Raises:
        InvalidRequest: the path leaves the hierarchy.
        UnsupportedSpec: it is a systemd slice.
    """
    if cgroups_path.count(":") == 2 and "/" not in cgroups_path:
        raise UnsupportedSpec(f"linux.cgroupsPath: {cgroups_path!r} is for the systemd driver, which is not there yet")
    path = "/" + (cgroups_path.strip("/") or f"twinhull/{identity}")
    if ".." in path.split("/"):
        raise InvalidRequest(f"linux.cgroupsPath: {cgroups_path!r} leads out of the hierarchy")
    if cgroups_path and not set(cgroups_path) - {"/", "."}:
        raise InvalidRequest(f"linux.cgroupsPath: {cgroups_path!r} is the machine's group, not one for a container")
    unified = facts.cgroup2 + path if facts.cgroup2 else ""
    return Cgroup(unified, tuple((name, point + path) for name, point in facts.cgroup1))


def bundle_cgroups(linux: Mapping[str, Any], cgroup: Cgroup, facts: Facts) -> Groups:
    """Return the ops that make the groups with their limits, and those that remove them."""
    resources = linux.get("resources") or {}
    ungrouped = cgroup == NO_GROUPS and facts.cgroup_mode != "none"  # so the caller wants it
    make: list[Op] = []
    undo: list[Op] = []
    if cgroup.unified:
        make += enable(facts.cgroup2, cgroup.unified[len(facts.cgroup2) :], list(facts.cgroup2_controllers))
        make.append(Op("cgroup2", (cgroup.unified,)))
        undo += [Op("kill-cgroup", (cgroup.unified,)), Op("remove-cgroup", (cgroup.unified,))]
    directories = dict.fromkeys(directory for _, directory in cgroup.legacy)
    make += [Op("cgroup1", (directory,)) for directory in directories]
    undo += [Op("remove-cgroup", (directory,)) for directory in directories]
    make += [Op("write", (path, value)) for path, value in writes(resources, cgroup, facts)]
    # In a user namespace no policy can be loaded, and no node made that it would be for.
    devices = () if facts.rootless or ungrouped else device_ops(resources, cgroup)
    return Groups((*make, *devices), tuple(undo))


def writes(resources: Mapping[str, Any], cgroup: Cgroup, facts: Facts) -> Iterator[tuple[str, str]]:
    """(file, value) of each limit but the devices', in the order of the writes.

    Raises:
        UnsupportedSpec: no hierarchy of this machine has the controller; the message names the field.
    """
    legacy = dict(cgroup.legacy)
    for setting in settings(resources, v2=not facts.cgroup1):
        unified = setting.controller.startswith("unified ")
        if unified and (name := setting.controller.partition(" ")[2]) in legacy:
            raise UnsupportedSpec(
                f"linux.resources.{setting.field}: invalid configuration: this machine has the controller {name!r} in "
                "cgroup v1, and unified is v2's"
            )
        if cgroup.unified and (unified or setting.controller in facts.cgroup2_controllers):
            directory, values = cgroup.unified, setting.v2
        elif setting.controller in legacy:
            directory, values = legacy[setting.controller], setting.v1
        else:
            what = "cgroup v2" if unified else f"cgroup controller {setting.controller!r}"
            grouped = cgroup.unified or cgroup.legacy
            whose = "the container has" if not grouped else "your groups have" if facts.rootless else "this machine has"
            raise UnsupportedSpec(f"linux.resources.{setting.field}: {whose} no {what}")
        for name, value in values:
            file = name.replace("blkio.weight", "blkio.bfq.weight") if facts.bfq else name
            if not file.startswith("memory.memsw.") or facts.swap_limit:
                yield f"{directory}/{file}", value
            elif value != "-1":
                raise UnsupportedSpec("linux.resources.memory.swap: this kernel does not count swap")


def device_ops(resources: Mapping[str, Any], cgroup: Cgroup) -> Iterator[Op]:
    """Who may open which device: v1's lists where there are any, else a program of the v2 group."""
    if not (rules := resources.get("devices")):
        return
    rules = [*rules, *defaults.DEVICE_RULES[1:]]  # what a container cannot be without, as all runtimes have it
    legacy = dict(cgroup.legacy)
    if "devices" in legacy:
        for file, line in device_lines(rules):
            yield Op("write", (f"{legacy['devices']}/{file}", line))
        return
    if not cgroup.unified:
        raise UnsupportedSpec("linux.resources.devices: this machine has no cgroups")
    checked = [check_device(rule, index) for index, rule in enumerate(rules)]
    plain = [{**rule, "type": kind} for rule, (kind, _) in zip(rules, checked, strict=True)]
    yield Op("device-policy", (compile_devices(plain),))
