"""What a user without root cannot have, said before anything is done. Imported by his commands alone."""

from __future__ import annotations

from twinhull.engine.state import Home, status
from twinhull.errors import UnsupportedSpec
from twinhull.host.facts import read_facts
from twinhull.model import Instance, Request
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SUDO = "sudo twinhull …"


def check(request: Request) -> None:
    """Refuse what would work by half.

    Raises:
        UnsupportedSpec: the request asks for it.
    """
    for asked, what, hint in needs_root(request):
        if asked:
            raise UnsupportedSpec(f"{what} without root is not supported", hint=f"{hint}, or {SUDO}" if hint else SUDO)


def connect(home: Home) -> None:
    """Make the way out of the user's network; where it was lost, the ports of those who run are opened again."""
    from twinhull.network import uplink

    if not uplink.ensure(home.config):
        return
    for instance in instances.everything(home.db):
        if instance.ports and status(home, instance) in ("running", "paused"):
            publish(home, instance)


def publish(home: Home, instance: Instance) -> None:
    """Open the workload's ports of the host; its supervisor's undo list closes them."""
    from twinhull.network import uplink
    from twinhull.runtime import container

    launcher = container.launcher_path(home.config.launcher)
    for port in instance.ports:
        number = uplink.publish(home.config, port)
        container.extend_undo(home.directory(instance.id), (uplink.undo_op(home.config, launcher, number),))


def needs_root(request: Request) -> Iterator[tuple[bool, str, str]]:
    """Give (is it asked for, what it is, what to do instead)."""
    sixth = next((port.address for port in request.ports if ":" in port.address), "")
    yield bool(sixth), f"a port of an IPv6 address ({sixth})", "leave the address out"
    yield request.user_namespace, "--userns private", "leave it out: you are in a user namespace already"
    yield bool(request.runtime), "--runtime", "leave it out"
    moved = next((device.target for device in request.devices if device.target != device.source), "")
    yield bool(moved), f"a device under another name ({moved})", "give it its own"
    limited = bool(request.memory_bytes or request.cpus or request.cpu_shares or request.pids_limit > 0)
    # A guest's own kernel holds the others.
    limited = bool(request.cpuset) or (limited and request.isolation != "vm")
    yield limited and not read_facts().cgroup2, "a limit", "leave it out: no control group is delegated to you"
