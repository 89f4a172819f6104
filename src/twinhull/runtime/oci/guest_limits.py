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

Rows = tuple[tuple[str, str], ...]
NONE = -1
INSIDE = {"memory": ("limit", "swap"), "pids": ("limit",)}


def divide(root: str, record: Record, resources: Mapping[str, Any]) -> tuple[dict[str, Any], Rows, Rows]:
    """Return the limits that are the host's to set, those for `write` to set inside, and those that are there.

    Raises:
        Conflict: it is paused, and nobody there could answer.
        UnsupportedSpec: a limit that a machine cannot have, or more memory than it has.
    """
    around = {key: value for key, value in resources.items() if key in HOST_LIMITS}
    kept = (records.config(root, record.id).get("linux") or {}).get("resources") or {}
    before = memory_of(kept)
    config = configuration.load()
    inside = chosen(resources, vm.guest_bytes(config, before))
    wanted = memory_of(inside)
    state = records.status(root, record)
    if state == "created":  # it boots with what it is told until then
        size = vm.guest_bytes(config, wanted or before) + OVERHEAD_BYTES
        return {**around, "memory": {"limit": size}} if wanted else around, (), ()
    if wanted > (size := vm.guest_bytes(config, before)):
        raise UnsupportedSpec(f"linux.resources.memory.limit: the machine was booted with {size} bytes")
    if inside and state == "paused":
        raise Conflict("container paused: its guest cannot be told of limits")
    there = {section: {"limit": (kept.get(section) or {}).get("limit") or NONE} for section in inside}
    return around, rows_of(inside), rows_of(chosen(there, size))


def rows_of(inside: Mapping[str, Any]) -> Rows:
    """(file, value) of each limit inside."""
    return tuple(row for limit in resource_limits(inside, GUEST_FACTS) for row in limit.v2)


def write(root: str, record: Record, rows: Rows, former: Rows) -> None:
    """Have the guest write them.

    Raises:
        LaunchError: its kernel refused one, and the files are as the former ones say.
    """
    conversation = sandbox.connect(home(root, record.id))
    try:
        for file, value in rows:
            if error := set_limit(conversation, file, value):
                for row in former:
                    set_limit(conversation, *row)
                raise LaunchError("write", f"{file} {value}", error)
    finally:
        conversation.close()


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
            found[section] = {"limit": limit if limit > 0 else size if section == "memory" else NONE}
    return found
