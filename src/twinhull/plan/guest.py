"""From a plan for the place "guest" to what a guest's agent is sent. Pure.

All volumes arrive as one share, with a directory (or file) for each: one device serves any number of
them, and a volume may be a single file, which 9p cannot share by itself.
"""

from __future__ import annotations

from twinhull.plan import codec
from twinhull.plan.compile import CLONE_FLAGS, STAGE, device_ops
from twinhull.plan.defaults import DEVICE_RULES, MASKED_PATHS, MOUNTS, NAMESPACES, READONLY_PATHS
from twinhull.plan.devices import compile_devices
from twinhull.plan.frames import MOMENT, Flag, Frame, Kind, encode
from twinhull.plan.mounts import compile_mounts
from twinhull.plan.netlink import GUEST_INDEX, LOOPBACK_INDEX, link_up
from twinhull.plan.ops import Arg, Op, Plan
from twinhull.plan.qemu import SHARES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# 9p (Documentation/filesystems/9p.rst): the largest message that virtio carries without a bounce.
SHARE_OPTIONS = "trans=virtio,version=9p2000.L,msize=524288"
MOUNT_NODEV = 4
# Every guest has one workload, so its cgroup has one name: the agent makes it before the template is saved.
# A rehearsal has one of its own, which goes with it (launcher/agent.c).
GROUPS, GROUP, REHEARSAL = "/sys/fs/cgroup/twinhull/", "workload", "rehearsal"


def guest_plan(plan: Plan, group: str = GROUP) -> tuple[Op, ...]:
    """Return the host and child stages that the agent performs."""
    host = (Op(op.name, tuple(in_group(argument, group) for argument in op.args)) for op in plan.host)
    return (*host, *place_shares(plan.child))


def rehearsal(plan: Plan, seed: bytes, now_ns: int) -> bytes:
    """Return the frames of a whole life, to be played to a guest before it has a workload.

    Args:
        now_ns: since the epoch, as time.time_ns() has it.
    """
    parts = (
        Frame(Kind.SEED, 0, seed),
        Frame(Kind.PLAN, 0, codec.encode(guest_plan(plan, REHEARSAL)), Flag.LAST),
        Frame(Kind.TIME, 0, MOMENT.pack(*divmod(now_ns, 1_000_000_000))),
        Frame(Kind.START, 0),
    )
    return b"".join(map(encode, parts))


def ahead_plan() -> tuple[Op, ...]:
    """Return what a guest does before it is saved as a template, because most plans begin like this.

    Under TCG a guest pays for code that runs for the first time, so what can be done once is not done
    by each.
    """
    flags = sum(CLONE_FLAGS[kind] for kind in NAMESPACES if kind in CLONE_FLAGS)
    return (
        Op("cgroup2", (GROUPS + GROUP,)),
        Op("device-policy", (compile_devices(DEVICE_RULES),)),
        Op("namespaces", (flags,)),
        Op("private-mounts"),
        Op("stage", ("tmpfs", "scratch", "scratch", 0, "")),
        Op("network", (link_up(LOOPBACK_INDEX, ack=True), 1)),
        Op("network", (link_up(GUEST_INDEX, ack=True), 1)),
        Op("scaffold"),
        *standard_root(),
    )


def standard_root() -> tuple[Op, ...]:
    """What almost every root has: it waits on a scaffold, and moves into the root of a plan that asks for all of it."""
    mounts = (
        {"destination": destination, "type": kind, "source": source, "options": options}
        for destination, kind, source, options in MOUNTS
    )
    masks = (Op("mask", (path,)) for path in MASKED_PATHS)
    return (*compile_mounts(mounts), *device_ops(), *masks, *(Op("read-only", (path,)) for path in READONLY_PATHS))


def in_group(argument: Arg, group: str) -> Arg:
    """A path of the workload's cgroup under the name that it has in a guest."""
    if not isinstance(argument, str) or not argument.startswith(GROUPS):
        return argument
    name, slash, rest = argument.removeprefix(GROUPS).partition("/")
    if not slash and "." in name:  # a file of the parent: it lets a limit pass down
        return argument
    return f"{GROUPS}{group}{slash}{rest}"


def place_shares(child: Iterable[Op]) -> tuple[Op, ...]:
    """Replace each `share` by a bind from the share, which is mounted before the root is made."""
    ops = tuple(child)
    if not any(op.name in ("share", "root-bind") for op in ops):  # a root that is bound lies on the share, too
        return ops
    mount = Op("stage", ("9p", SHARES, SHARES, MOUNT_NODEV, SHARE_OPTIONS))
    first = next(index for index, op in enumerate(ops) if op.name in ("stage", "overlay", "root-bind"))
    return (*ops[:first], mount, *(bind_of(op) for op in ops[first:]))


def bind_of(op: Op) -> Op:
    """A `share` as the bind that it stands for; any other op as it is."""
    if op.name != "share":
        return op
    tag, target, attributes = op.args
    assert isinstance(tag, str) and isinstance(attributes, int), "as the op table says"
    return Op("bind", (f"{STAGE}/{SHARES}/{tag}", target, 0, attributes | MOUNT_NODEV))
