"""Other limits for a workload, at once if it runs.

Promise: what is refused changes nothing. A virtual machine is limited inside its guest, where the workload's own group
is, and by the group around QEMU where it has one: it cannot get more than its guest was made with.
"""

from __future__ import annotations

import os
from errno import EBUSY, EINVAL

from twinhull.engine import policy, tools, usage
from twinhull.engine.state import Home, status
from twinhull.errors import Conflict, InvalidRequest, UnsupportedSpec
from twinhull.host import files, locks
from twinhull.host.facts import read_facts
from twinhull.model import Instance
from twinhull.oci.spec import cpu_limits
from twinhull.plan.cgroups import GUEST_FACTS, Limit, place_of, resource_limits
from twinhull.runtime.tool import set_limit
from twinhull.scopes import contextmanager
from twinhull.store import instances
from twinhull.store.db import transaction
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from twinhull.model import Facts
    from twinhull.runtime.sandbox import Sandbox

PERIOD_US = 100_000
RECLAIMS = 3  # a page or two that a look itself takes must not decide
MIB = 1 << 20


class Limits(NamedTuple):
    """The limits that are to change; 0 stays as it is. Memory in bytes.

    Attributes:
        pids_limit: -1 takes the limit away.
        restart: the policy as the command line has it; "" stays as it is.
    """

    memory_bytes: int = 0
    cpus: float = 0.0
    pids_limit: int = 0
    restart: str = ""


def update(home: Home, instance: Instance, limits: Limits) -> None:
    """Change the limits of what runs, then those of the next start.

    Raises:
        InvalidRequest: no limit is named, or it is a machine.
        UnsupportedSpec: this host, or this guest, cannot do it while it runs.
    """
    if not any(limits):
        raise InvalidRequest("nothing to change", hint="--memory, --cpus, --pids-limit or --restart")
    if instance.isolation == "machine":
        raise InvalidRequest(f"{instance.name} is a machine: it was made with its memory and processors")
    with locks.locked(f"{home.directory(instance.id)}/lock"):
        instance = instances.find(home.db, instance.id)  # as whoever had the lock left it
        request = instances.request_from(instance.request)
        changed = {key: value for key, value in limits._asdict().items() if value}
        if "memory_bytes" in changed and request.swap_bytes > 0:
            changed["swap_bytes"] = max(request.swap_bytes, limits.memory_bytes)
        if limits.restart:
            changed["restart"] = policy.parse(limits.restart)
        request = request._replace(**changed)
        policy.check(request)
        cpu_limits(request)  # of the next start
        resources = resources_of(limits, request.swap_bytes)
        if resources and status(home, instance) in ("running", "paused"):
            apply(home, instance, resources, limits)
        with transaction(home.db):
            instances.set_request(home.db, instance.id, request)
        if limits.restart and status(home, instance) in ("running", "paused", "restarting"):
            policy.write(home.config, instance.id, request.restart)


def resources_of(limits: Limits, swap_bytes: int) -> dict[str, Any]:
    """linux.resources of the runtime specification."""
    found: dict[str, Any] = {}
    if limits.memory_bytes:
        found["memory"] = {"limit": limits.memory_bytes, "swap": swap_bytes or limits.memory_bytes * 2}
    if limits.cpus:
        found["cpu"] = {"quota": int(limits.cpus * PERIOD_US), "period": PERIOD_US}
    if limits.pids_limit:
        found["pids"] = {"limit": limits.pids_limit}
    return found


def apply(home: Home, instance: Instance, resources: dict[str, Any], limits: Limits) -> None:
    """Write to the groups of a workload that runs."""
    facts = read_facts()
    if instance.isolation == "container":
        found = [(limit, *group_of(instance, limit, facts)) for limit in resource_limits(resources, facts)]
        for limit, directory, values in found:
            write(instance, limit, directory, values)
        return
    apply_inside(home, instance, resources, limits)
    around = {"cpu": resources["cpu"]} if "cpu" in resources else {}
    for limit in resource_limits(around, facts):
        directory, values = place_of(limit, f"/twinhull/{instance.id}", facts)
        if all(os.path.exists(f"{directory}/{file}") for file, _ in values):
            write(instance, limit, directory, values)


def group_of(instance: Instance, limit: Limit, facts: Facts) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The directory with the files of a limit, and their values.

    Raises:
        UnsupportedSpec: the workload has no such group.
    """
    directory, values = place_of(limit, f"/twinhull/{instance.id}", facts)
    parent = os.path.dirname(directory)
    if not os.path.exists(f"{directory}/{values[0][0]}") and limit.controller in facts.cgroup2_controllers:
        for group in (os.path.dirname(parent), parent):
            files.write_value(f"{group}/cgroup.subtree_control", f"+{limit.controller}".encode())
    if not os.path.exists(f"{directory}/{values[0][0]}"):
        raise UnsupportedSpec(
            f"{instance.name} was started without a limit of {limit.controller}, and this host has cgroup v1 for it: "
            "a process enters such a group at its start only",
            hint=f"twinhull stop {instance.name}, then update, then start",
        )
    return directory, values


def write(instance: Instance, limit: Limit, directory: str, values: tuple[tuple[str, str], ...]) -> None:
    """Write values; v1's two limits of memory must never cross, so the order depends on the direction."""
    try:
        write_all(directory, values)
    except OSError as error:
        if error.errno == EINVAL:
            write_all(directory, values[::-1])
        elif error.errno == EBUSY:
            raise Conflict(f"{instance.name} uses more {limit.controller} than that now") from None
        else:
            raise


def write_all(directory: str, values: tuple[tuple[str, str], ...]) -> None:
    """Write each; a kernel without accounting of swap has no file for it."""
    for file, value in values:
        if os.path.exists(f"{directory}/{file}"):
            files.write_value(f"{directory}/{file}", value.encode())


def apply_inside(home: Home, instance: Instance, resources: dict[str, Any], limits: Limits) -> None:
    """Write to the group in the guest.

    Raises:
        UnsupportedSpec: more than the guest has.
        Conflict: less than it uses.
    """
    there = usage.inside(home, instance)
    if limits.memory_bytes > there["memory_total_bytes"]:
        raise UnsupportedSpec(
            f"the guest of {instance.name} has {there['memory_total_bytes'] // MIB}m of memory, with which its machine "
            "was made",
            hint=f"twinhull stop {instance.name}, then update, then start",
        )
    if limits.cpus > max(there["processors"], 1):
        raise UnsupportedSpec(
            f"the guest of {instance.name} has {there['processors']} processor(s), and more cannot be put in",
            hint=f"twinhull stop {instance.name}, then update, then start",
        )
    with tools.conversation_with(home, instance) as conversation:
        with kept_below(conversation, instance, limits.memory_bytes):
            for limit in resource_limits(resources, GUEST_FACTS):
                for file, value in limit.v2:
                    put(conversation, instance, file, value)


@contextmanager
def kept_below(conversation: Sandbox, instance: Instance, size_bytes: int) -> Iterator[None]:
    """Have the kernel of a guest make room below a limit that is to come: memory.max would kill instead of refuse.

    Raises:
        Conflict: there is more in use than that.
    """
    if not size_bytes:
        yield
        return
    try:
        for _ in range(RECLAIMS):
            put(conversation, instance, "memory.high", str(size_bytes))  # which takes back what can be
            if usage.told(conversation)["memory_bytes"] <= size_bytes:
                break
        else:
            raise Conflict(f"{instance.name} uses more memory than that now")
        yield
    finally:
        put(conversation, instance, "memory.high", "max")


def put(conversation: Sandbox, instance: Instance, file: str, value: str) -> None:
    """Write one file of the group in the guest."""
    if error := set_limit(conversation, file, value):
        raise tools.failed(f"update {instance.name}", error, file)
