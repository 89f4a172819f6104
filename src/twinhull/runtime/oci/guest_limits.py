"""Other limits for a machine of `twinhull-oci`: those of memory and processes hold inside its guest."""

from __future__ import annotations

from twinhull import config as configuration
from twinhull.errors import Conflict, LaunchError, UnsupportedSpec
from twinhull.plan.bundle_guest import HOST_LIMITS, memory_of
from twinhull.plan.cgroups import GUEST_FACTS, resource_limits
from twinhull.plan.jail import OVERHEAD_BYTES
from twinhull.runtime import sandbox, vm
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.guest import home
from twinhull.runtime.tool import set_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from twinhull.runtime.oci.record import Record

INSIDE = {"memory": ("limit", "swap"), "pids": ("limit",)}


def update(root: str, record: Record, resources: Mapping[str, Any]) -> dict[str, Any]:
    """Set the limits inside, and return those that are the host's to set.

    Raises:
        Conflict: it is paused, and nobody there could answer.
        UnsupportedSpec: a limit that a machine cannot have, or more memory than it has.
        LaunchError: the guest's kernel refused a value.
    """
    around = {key: value for key, value in resources.items() if key in HOST_LIMITS}
    before = memory_of((records.config(root, record.id).get("linux") or {}).get("resources") or {})
    config = configuration.load()
    inside = chosen(resources, vm.guest_bytes(config, before))
    wanted = memory_of(inside)
    state = records.status(root, record)
    if state == "created":  # it boots with what it is told until then
        size = vm.guest_bytes(config, wanted or before) + OVERHEAD_BYTES
        return {**around, "memory": {"limit": size}} if wanted else around
    if wanted > (size := vm.guest_bytes(config, before)):
        raise UnsupportedSpec(f"linux.resources.memory.limit: the machine was booted with {size} bytes")
    if inside and state == "paused":
        raise Conflict("container paused: its guest cannot be told of limits")
    if inside:
        conversation = sandbox.connect(home(root, record.id))
        try:
            for limit in resource_limits(inside, GUEST_FACTS):
                for file, value in limit.v2:
                    if error := set_limit(conversation, file, value):
                        raise LaunchError("write", f"{file} {value}", error)
        finally:
            conversation.close()
    return around


def chosen(resources: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The limits that hold inside; no limit of memory is the size of the machine.

    Raises:
        UnsupportedSpec: one that holds nowhere.
    """
    found: dict[str, Any] = {}
    for section, values in resources.items():
        if section in HOST_LIMITS or not values:
            continue
        if section not in INSIDE:
            raise UnsupportedSpec(f"linux.resources.{section}: it cannot be changed in a virtual machine that is there")
        for key, value in values.items():
            if value and key not in INSIDE[section]:
                raise UnsupportedSpec(f"linux.resources.{section}.{key}: a virtual machine has no such limit")
        if limit := values.get("limit"):
            found[section] = {"limit": limit if limit > 0 else size if section == "memory" else "max"}
    return found
