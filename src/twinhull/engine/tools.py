"""Conversations with the launcher's tools: parts of it that look into a workload without running anything of it.

Promise: the same tool on the host for a container and in the guest for a virtual machine; what comes from there is
bounded before it is believed. A workload that does not run is prepared for it, without network, and never started.
"""

from __future__ import annotations

from twinhull.engine.state import Home, status
from twinhull.errors import Conflict, InvalidRequest, TwinhullError
from twinhull.model import Instance
from twinhull.runtime import sandbox
from twinhull.runtime.sandbox import Sandbox
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Flags of the tool op (launcher/tool.h).
FOLLOW, RECURSE, ONE_MOUNT, CONTENT, SYNCS, ANY_OWNER, FREEZES = 1, 2, 4, 8, 16, 32, 1 << 16


def refuse_machine(instance: Instance) -> None:
    """Refuse what would look into the QEMU of a machine instead of into the machine.

    Raises:
        InvalidRequest: it is a machine.
    """
    if instance.isolation == "machine":
        raise InvalidRequest(
            f"{instance.name} is a machine: its files and processes are its own system's",
            hint=f"twinhull machine attach {instance.name} is its console",
        )


@contextmanager
def conversation_with(home: Home, instance: Instance) -> Iterator[Sandbox]:
    """A conversation in which tools can be started: with what runs, or with what is prepared for this alone.

    Raises:
        Conflict: a virtual machine is paused, with its agent.
    """
    refuse_machine(instance)
    if status(home, instance) not in ("running", "paused"):
        from twinhull.engine.still import prepared

        with prepared(home, instance) as still:
            yield still
        return
    if instance.isolation == "vm" and status(home, instance) == "paused":
        raise Conflict(
            f"workload {instance.name} is paused: its virtual machine stands still, and nothing in it can be looked at",
            hint=f"twinhull unpause {instance.name}",
        )
    conversation = sandbox.connect(home.directory(instance.id))
    try:
        yield conversation
    finally:
        conversation.close()


def failed(tool: str, number: int, name: str) -> TwinhullError:
    """The error that a tool's last record stands for."""
    import os

    return TwinhullError(f"{tool}: {name + ': ' if name else ''}{os.strerror(number)}")
