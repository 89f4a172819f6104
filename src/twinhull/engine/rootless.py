"""What a user without root cannot have, said before anything is done. Imported by his commands alone."""

from __future__ import annotations

from errno import EBUSY

from twinhull.engine.state import Home, status
from twinhull.errors import HostUnfit, LaunchError, UnsupportedSpec
from twinhull.host.facts import cgroup_mounts, read, read_facts
from twinhull.host.rootless import own_group
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
    require_same_group()
    for asked, what, hint in needs_root(request):
        if asked:
            raise UnsupportedSpec(f"{what} without root is not supported", hint=f"{hint}, or {SUDO}" if hint else SUDO)


def require_same_group() -> None:
    """Refuse where the group in which all of the user's workloads have theirs is not above this process.

    Raises:
        HostUnfit: the kernel would let nothing of ours into it.
    """
    top = group_of_all(read("/proc/self/mountinfo"))
    own = own_group(read("/proc/self/cgroup"))
    if top and not f"{own}/".startswith(f"{top.rstrip('/')}/"):
        raise HostUnfit(
            f"your workloads have their control groups below {top}, and this command runs in {own}",
            hint="systemd-run --user --scope twinhull …",
        )


def group_of_all(mountinfo: str) -> str:
    """The path of the group that the user's namespaces show in the place of the hierarchy, "" without one."""
    point = cgroup_mounts(mountinfo)[0]
    rows = [line.split() for line in mountinfo.splitlines() if " - cgroup2 " in line]
    return next((row[3] for row in reversed(rows) if row[4] == point), "")


def explain(error: LaunchError) -> HostUnfit | None:
    """What a step means that fails for a user without root alone, None for any other."""
    if error.op == "write" and error.errno == EBUSY and error.target.endswith("cgroup.subtree_control"):
        hint = "let your shell run in a group below it, or leave the limit out"
        return HostUnfit("the control group that is delegated to you has processes, so it limits none", hint=hint)
    return None


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
