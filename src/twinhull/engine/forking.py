"""Copies of running virtual machines that go on from the same point, each with an identity of its own.

Promise: the original goes on as it was. A copy has its own name, hostname, machine id, addresses, random numbers and
disk before its workload runs; what was half made is cleared away by the next command.
"""

from __future__ import annotations

import os
import time

from twinhull.engine import connectivity, control, life, names
from twinhull.engine.reconcile import discard, reconcile
from twinhull.engine.state import Home, status
from twinhull.errors import (
    Conflict,
    GuestError,
    InvalidRequest,
    LaunchError,
    SupervisorLost,
    TwinhullError,
    UnsupportedSpec,
)
from twinhull.host import files, locks
from twinhull.model import Endpoint, Image, Instance, Request
from twinhull.plan import netlink
from twinhull.plan.compile import CLONE_FLAGS, STDIN_NONE
from twinhull.plan.ops import Op
from twinhull.runtime import container
from twinhull.scopes import contextmanager
from twinhull.store import instances
from twinhull.store.db import transaction
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twinhull.plan.qemu import Machine
    from twinhull.runtime.fork import Times
    from twinhull.runtime.pages import Saved
    from twinhull.runtime.vm import Prerequisites

ENDS_S = 1.0  # from a signal to the record of the end
MAX_COPIES = 64  # of one command: each takes memory of the host's
MACHINE_ID_DIGITS = 32  # machine-id(5)
TOOL = "identity"  # of launcher/tool.c: it has nothing left to do


class Fork(NamedTuple):
    """What became of a fork: the copies, and how long the original stood still."""

    copies: tuple[Instance, ...]
    times: Times


def fork(home: Home, instance: Instance, image: Image, *, count: int = 1, name: str = "") -> Fork:
    """Make copies of a running virtual machine.

    Args:
        name: of the only copy, or what the names of several begin with; "" picks some.

    Raises:
        UnsupportedSpec: it is nothing that can be copied.
        Conflict: it does not run, was not started from a template, or a name is in use.
    """
    life.require_root(home)
    reconcile(home)
    wanted = copy_names(name, count)
    check(home, instance)
    request = request_of_copy(instances.request_from(instance.request))
    connectivity.prepare(home, request)
    root = f"{home.config.state}/instances"
    with staged(root, os.urandom(32).hex()) as directory, saving(home, instance, directory) as (saved, times):
        rows = [row_of_copy(instance, request._replace(name=each)) for each in wanted]
        return Fork(start_all(home, instance, rows, image, saved, once=True), times)


def copy_names(name: str, count: int) -> list[str]:
    """A name for each copy, "" for one that is to be picked.

    Raises:
        InvalidRequest: no name, or no number of copies.
    """
    if not 1 <= count <= MAX_COPIES:
        raise InvalidRequest(
            f"{count} copies cannot be made at once", hint=f"-n 1 to {MAX_COPIES}; more with a further command"
        )
    if name and not names.is_valid(name):
        raise InvalidRequest(f"invalid name {name!r}", hint=names.RULE)
    return [name] if count == 1 else [name and f"{name}-{number}" for number in range(1, count + 1)]


def check(home: Home, instance: Instance) -> None:
    """Refuse what cannot be copied while it runs.

    Raises:
        UnsupportedSpec: for good.
        Conflict: now.
    """
    if instance.isolation == "container":
        raise UnsupportedSpec(
            f"{instance.name} is a container: its processes' state is spread over the host's kernel, which copies none",
            hint="run it with --vm; or twinhull commit copies its files alone",
        )
    if instance.isolation == "machine":
        raise UnsupportedSpec(f"{instance.name} is a machine: only what was started by run --vm can be copied")
    if reason := obstacle(instances.request_from(instance.request)):
        raise UnsupportedSpec(f"{instance.name} cannot be copied while it runs: {reason}")
    control.require_running(home, instance)
    control.require_unpaused(home, instance)


def obstacle(request: Request) -> str:
    """Why the machine of a request cannot be copied, "" if it can."""
    if request.volumes:
        return "what it has open on a volume is QEMU's, and no state of a device (9p)"
    if len(request.networks) > 1:
        return "it is on several networks"
    if request.readonly:
        return "its root is read-only, so its names could not be changed"
    return ""


def request_of_copy(request: Request) -> Request:
    """The request without what only one workload can have: names, addresses, ports."""
    networks = tuple(place._replace(address="", address6="") for place in request.attachments)
    return request._replace(hostname="", mac="", ports=(), publish_all=False, attachments=networks)


def row_of_copy(instance: Instance, request: Request) -> Instance:
    """The row of a copy, not started yet."""
    return instance._replace(
        id=os.urandom(32).hex(),
        name=request.name,
        created=time.time(),
        request=instances.request_text(request),
        started=0.0,
        boot_id="",
        endpoints=(),
        ports=(),
    )


@contextmanager
def staged(root: str, identity: str) -> Iterator[str]:
    """Give a directory for what is saved; whoever finds it without our lock removes it."""
    early = f"{root}/.{identity}"
    directory = f"{early}/saved"
    files.make_directory(early)
    try:
        with locks.locked(f"{early}/lock"):
            files.make_directory(directory)
            os.utime(early, (0, 0))
            yield directory
    finally:
        files.remove_tree(early)


@contextmanager
def saving(home: Home, instance: Instance, target: str) -> Iterator[tuple[Saved, Times]]:
    """Save a running machine to a directory."""
    from twinhull.runtime import fork
    from twinhull.runtime.pages import Saved

    busy = f"{instance.name} is being started, stopped or copied"
    with locks.locked(f"{home.directory(instance.id)}/lock", wait=False, busy=busy):
        ready, machine = surroundings(home, instance)
        require_same(instance, ready, machine)
        try:
            memory, times = fork.save(home.config, instance.id, machine, target, disk=not instance.remove)
        except (SupervisorLost, LaunchError, GuestError) as error:
            raise unsaved(home, instance, error) from error
    try:
        yield Saved(target, memory, machine), times
    finally:
        os.close(memory)


def unsaved(home: Home, instance: Instance, error: TwinhullError) -> TwinhullError:
    """What it was that could not be saved: one that is ending is given the time to have ended."""
    deadline = time.monotonic() + ENDS_S
    while status(home, instance) in ("running", "paused"):
        if time.monotonic() > deadline:
            hint = "stop and start it: its supervisor may be of an earlier version of twinhull"
            lost = isinstance(error, SupervisorLost)
            return Conflict("the virtual machine cannot be held", hint=hint) if lost else error
        time.sleep(control.POLL_S)
    return Conflict(f"workload {instance.name} has ended while it was being copied")


def surroundings(home: Home, instance: Instance) -> tuple[Prerequisites, Machine]:
    """What a workload would be started with now, and the machine that it would run on, by its row."""
    from twinhull.engine.bundle import guest_architecture
    from twinhull.engine.images import of_instance
    from twinhull.runtime import vm

    request = instances.request_from(instance.request)
    ready = vm.prepare(home.config, home.notice, guest_architecture(of_instance(home, instance)))
    return ready, vm.machine_for(home.config, ready, memory_bytes=request.memory_bytes, cpus=request.cpus)


def require_same(instance: Instance, ready: Prerequisites, machine: Machine) -> None:
    """Refuse where what runs is another machine.

    Raises:
        Conflict: it is.
    """
    from twinhull.runtime import fork

    qemu, kept = ready.guest.hypervisor, not instance.remove
    fork.require_same(instance.id, machine, qemu.binary, qemu.root, disk=kept, durable=kept)


def start_all(
    home: Home, original: Instance, rows: Sequence[Instance], image: Image, saved: Saved, *, once: bool
) -> tuple[Instance, ...]:
    """Start all copies or none; with `once` no other will be made of what was saved."""
    copies: list[Instance] = []
    try:
        for number, row in enumerate(rows, 1):
            copies.append(start(home, original, row, image, saved, last=once and number == len(rows)))
    except BaseException:
        for copy in copies:
            control.remove(home, copy, force=True)
        raise
    return tuple(copies)


def start(home: Home, original: Instance, row: Instance, image: Image, saved: Saved, *, last: bool) -> Instance:
    """Start one copy; the last may have the files themselves."""
    from twinhull.runtime import scratch
    from twinhull.runtime.pages import DISK

    request = instances.request_from(row.request)
    with life.new_directory(home, row.id) as directory:
        with transaction(home.db, durable=not row.remove):
            row = life.insert_named(home, row)
            endpoints, _ = connectivity.reserve(home, row.id, request)
            instances.set_endpoints(home.db, row.id, endpoints)
        row = row._replace(endpoints=endpoints)
        try:
            if not row.remove:
                move = os.rename if last else scratch.copy_sparse
                move(saved.file(DISK), f"{directory}/{DISK}")
            origin = saved._replace(identity=identity_plan(original, row, request))
            conversation = life.attempt(home, row, image, request, (0, 0), origin)
            conversation.close()
            if conversation.shim_pid:
                home.children.append(conversation.shim_pid)
        except BaseException:
            container.undo(home.config.launcher, directory)
            connectivity.disconnect(home, row)
            discard(home, row)
            raise
    return row


def identity_plan(original: Instance, copy: Instance, request: Request) -> tuple[Op, ...]:
    """What makes a copy another machine, in its guest: addresses, names, files that tell them."""
    from twinhull.engine.bundle import is_own

    hostname = copy.id[:12]
    etc = [*connectivity.etc_files(request, copy.endpoints, hostname)]
    etc.append(("/etc/machine-id", copy.id[:MACHINE_ID_DIGITS] + "\n"))
    return (
        Op("namespaces", (CLONE_FLAGS["uts"],)),
        *(Op("network", messages) for messages in moving(original.endpoints, copy.endpoints)),
        Op("hostname", (hostname,)),
        *(Op("file", (path, content.encode(), 0o644)) for path, content in etc if is_own(request, path)),
        Op("stdin", (STDIN_NONE,)),
        Op("tool", (TOOL, "", 0)),
    )


def moving(before: Sequence[Endpoint], after: Sequence[Endpoint]) -> Iterator[tuple[bytes, int]]:
    """Give the messages that take the original's addresses from a guest, and give it the copy's."""
    from twinhull.network.endpoint import IPV6_PREFIX, guest_messages

    for place in before:
        index = netlink.GUEST_INDEX + place.number
        yield netlink.remove_address(index, place.address, place.prefix), 1
        if place.address6:
            yield netlink.remove_address(index, place.address6, IPV6_PREFIX), 1
        if place.number not in [other.number for other in after]:  # the card has no cable in the copy
            yield netlink.link_down(index, ack=True), 1
    for place in after:
        yield guest_messages(place)
