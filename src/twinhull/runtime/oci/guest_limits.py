"""Other limits for a machine of `twinhull-oci`: those of memory and processes hold inside its guest."""

from __future__ import annotations

from twinhull import config as configuration
from twinhull.errors import Conflict, LaunchError, UnsupportedSpec
from twinhull.oci import records as answers
from twinhull.oci.tar import Stream
from twinhull.plan import codec
from twinhull.plan.bundle_guest import HOST_LIMITS, memory_of
from twinhull.plan.cgroups import GUEST_FACTS, resource_limits
from twinhull.plan.compile import STDIN_NONE
from twinhull.plan.frames import Kind
from twinhull.plan.jail import OVERHEAD_BYTES
from twinhull.plan.ops import Op
from twinhull.runtime import sandbox, vm
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.guest import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from twinhull.runtime.oci.record import Record
    from twinhull.runtime.sandbox import Sandbox

STREAM = 1
INSIDE = {"memory": ("limit", "swap"), "pids": ("limit",)}


def update(root: str, record: Record, resources: Mapping[str, Any]) -> dict[str, Any]:
    """Set the limits inside, and return those that are the host's to set.

    Raises:
        Conflict: it is paused, and nobody there could answer.
        UnsupportedSpec: a limit that a machine cannot have, or more memory than it has.
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
                    set_inside(conversation, file, value)
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


def set_inside(conversation: Sandbox, file: str, value: str) -> None:
    """Write one file of the group in the guest; a kernel without swap has none for it.

    Raises:
        LaunchError: the guest's kernel refused the value.
    """
    plan = codec.encode((Op("stdin", (STDIN_NONE,)), Op("tool", ("limit", f"{file} {value}", 0))))
    conversation.send_plan(Kind.EXEC, STREAM, plan)
    answer = answers.decode(Stream(output(conversation)))
    if answer.tag == answers.ERROR and "swap" not in file:
        raise LaunchError("write", f"{file} {value}", answer.mode)


def output(conversation: Sandbox) -> Iterator[bytes]:
    """What the tool writes, to its end."""
    written = b""
    while (frame := conversation.receive()).kind != Kind.EXIT:
        if frame.kind == Kind.ERROR:
            raise sandbox.launch_error(frame.payload)
        if frame.kind == Kind.STDOUT and frame.stream == STREAM:
            written += frame.payload
    yield written
