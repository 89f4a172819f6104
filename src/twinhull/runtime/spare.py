"""Guests in waiting: restored, rehearsed and stopped, with neither image nor network; one start takes one.

Under TCG most of a start is the translation of guest code that runs for the first time. A spare has run
it already (runtime/rehearsal.py). It has seen nothing of anybody's, and is never used twice.

Promise: whoever has its conversation has it; when that is closed before a workload has begun, its shim
takes everything back.
"""

from __future__ import annotations

import os
from _socket import socket

from twinhull.config import Config
from twinhull.host import locks, netlink
from twinhull.plan.netlink import in_namespace
from twinhull.plan.ops import NETNS_FD, Op
from twinhull.plan.qemu import IMAGE_SET, SCRATCH_SET
from twinhull.runtime import holder, qmp
from twinhull.runtime.container import extend_undo
from twinhull.runtime.sandbox import Sandbox
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

MONITOR_TIMEOUT_S = 10.0
# Of a network's ops, what a spare has not made already. Others live in a shim: ports, which no spare has.
MISSING = ("netlink", "netlink-inside")
# What is written to a disk: blocks that are freed go back to the host.
WRITABLE = {"discard": "unmap"}


class Spare(NamedTuple):
    """A guest in waiting.

    Attributes:
        identity: hexadecimal id, which the workload takes over with the directory.
        directory: where its shim lives.
        conversation: its first client's end.
        namespace: its network namespace.
        inside: a netlink socket that was made in it.
    """

    identity: str
    directory: str
    conversation: Sandbox
    namespace: int
    inside: socket


def lock_path(config: Config, key: str) -> str:
    """What whoever makes a guest in waiting of this template holds."""
    return f"{holder.directory_of(config, key)}/making"


def is_being_made(config: Config) -> bool:
    """True while a guest in waiting is being made, of any template."""
    return any(is_made(config, key) for key in holder.keys(config))


def is_made(config: Config, key: str) -> bool:
    """True while one is being made of this template."""
    return locks.is_held(lock_path(config, key))


def directory_of(config: Config, identity: str) -> str:
    """Where a spare lives until a workload takes it."""
    return f"{config.state}/spares/{identity}"


def take(config: Config, key: str) -> Spare | None:
    """Return the guest in waiting of a template, ours alone now; None without one."""
    taken = holder.take_spare(config, key)
    if taken is None:
        return None
    identity, (conversation, namespace, inside) = taken
    directory = directory_of(config, identity)
    return Spare(identity, directory, Sandbox(socket(fileno=conversation)), namespace, socket(fileno=inside))


def give(config: Config, key: str, spare: Spare) -> bool:
    """Leave a guest in waiting to its template's holder; False if that is gone, or has one."""
    fds = (spare.conversation.connection.fileno(), spare.namespace, spare.inside.fileno())
    return holder.keep_spare(config, key, spare.identity, fds)


def release(spare: Spare) -> None:
    """Close what only a start needs; the conversation goes on."""
    os.close(spare.namespace)
    spare.inside.close()


def connect(spare: Spare, directory: str, network: Iterable[Op], undo: Iterable[Op]) -> None:
    """Connect a spare to a workload's network, after the shim's undo list says how to take that back.

    Raises:
        OSError: the kernel refused.
    """
    extend_undo(directory, tuple(undo))
    missing = [(op.name, *op.args) for op in network if op.name in MISSING]
    if not missing:
        return
    with netlink.opened(netlink.ROUTE) as outside:
        for name, messages, acks in missing:
            assert isinstance(messages, bytes) and isinstance(acks, int), "as the op table says"
            here = name == "netlink"
            netlink.exchange(outside if here else spare.inside, in_namespace(messages, NETNS_FD, spare.namespace), acks)


def group_of(identity: str) -> str:
    """The cgroup of a spare, and of the workload that takes it."""
    return f"/twinhull/{identity}"


def wake(directory: str, image: str, scratch: str, *, durable: bool) -> None:
    """Give a spare its disks and let it run.

    Args:
        scratch: path of the disk that is written to, "" for none.
        durable: what the guest flushes must reach the host's disk.

    Raises:
        GuestError: QEMU refused, or is gone.
    """
    monitor = qmp.connect(directory, MONITOR_TIMEOUT_S)
    try:
        put_disk(monitor, "image", image, IMAGE_SET)
        if scratch:
            options = WRITABLE if durable else {**WRITABLE, "cache": {"no-flush": True}}
            put_disk(monitor, "scratch", scratch, SCRATCH_SET, options)
        monitor.execute("cont")
    finally:
        monitor.close()


def put_disk(monitor: qmp.Monitor, node: str, path: str, number: int, options: Mapping[str, Any] | None = None) -> None:
    """Lay a file below a disk that was made to be replaced."""
    readonly = node == "image"
    fd = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    try:
        monitor.send("add-fd", fd, fdset_id=number)
        monitor.answer("add-fd")
    finally:
        os.close(fd)
    file: dict[str, Any] = {"driver": "file", "filename": f"/dev/fdset/{number}", "locking": "off"}
    file |= {"read-only": readonly, "node-name": f"{node}-file", **(options or {})}
    monitor.send("blockdev-add", **file)
    lay(monitor, node, f"{node}-file")
    monitor.answer("blockdev-add")
    monitor.answer("blockdev-reopen")


def lay(monitor: qmp.Monitor, node: str, below: str) -> None:
    """Send the command that changes what lies below a disk."""
    options = {"driver": "raw", "node-name": node, "file": below, "read-only": node == "image"}
    monitor.send("blockdev-reopen", options=[options])
