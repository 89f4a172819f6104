"""Pause a workload and let it go on, by the freezer of its v2 leaf on the host.

Promise: what is paused runs no instruction. Of a virtual machine the whole QEMU is frozen: no guest can refuse
that, and its clock, which is the host's, is right again afterwards; stopped by QMP it would be late.
"""

from __future__ import annotations

from errno import ENOTSUP

from twinhull.engine.control import require_running
from twinhull.engine.state import Home, require_group, status
from twinhull.errors import Conflict, LaunchError
from twinhull.model import Instance
from twinhull.runtime import sandbox


def pause(home: Home, instance: Instance) -> None:
    """Freeze it.

    Raises:
        Conflict: it does not run, or is paused.
        HostUnfit: no v2 hierarchy.
    """
    require_running(home, instance)
    if status(home, instance) == "paused":
        raise Conflict(f"workload {instance.name} is already paused", hint=f"twinhull unpause {instance.name}")
    change(home, instance, frozen=True)


def unpause(home: Home, instance: Instance) -> None:
    """Let it go on.

    Raises:
        Conflict: it is not paused.
    """
    require_running(home, instance)
    if status(home, instance) != "paused":
        raise Conflict(f"workload {instance.name} is not paused", hint=f"twinhull pause {instance.name}")
    change(home, instance, frozen=False)


def change(home: Home, instance: Instance, *, frozen: bool) -> None:
    """Ask the supervisor, which waits for the kernel."""
    conversation = sandbox.connect(home.directory(instance.id))
    try:
        conversation.freeze(frozen=frozen)
    except LaunchError as error:
        if error.errno == ENOTSUP:
            require_group("pausing")
        raise
    finally:
        conversation.close()
