"""A container of `twinhull-oci` that is a virtual machine: booted by `start`, with a process of the host in its place.

The machine's own directory is ROOT/ID/vm: the shim's socket and lock, the console, what is to be undone.

Promise: the machine ends with the process that stands for it, however that ends; `delete` leaves nothing of either.
"""

from __future__ import annotations

import os
import stat
from _signal import SIGKILL  # type: ignore[import-not-found]  # has no stub; signal costs 3 ms
from _socket import socket as Socket  # what a conversation has
from socket import AF_UNIX, SOCK_STREAM, send_fds, socket

from twinhull import config as configuration
from twinhull.errors import Conflict, GuestError, InvalidRequest, TemplateFailed, UnsupportedSpec
from twinhull.host import files
from twinhull.host.facts import read_facts
from twinhull.plan.bundle import Bundle
from twinhull.plan.bundle_guest import (
    STREAM,
    Guest,
    compile_exec_stand_in,
    compile_guest,
    compile_guest_exec,
    compile_stand_in,
    join_groups,
    memory_of,
    processors_of,
    sandbox_of,
)
from twinhull.plan.cgroups import Groups
from twinhull.plan.codec import encode
from twinhull.plan.frames import Flag, Kind
from twinhull.plan.interfaces import guest_ops, host_ops
from twinhull.runtime import container, sandbox, vm
from twinhull.runtime.oci import life
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.conversation import perform
from twinhull.runtime.oci.create import describe
from twinhull.runtime.oci.launcher import launcher
from twinhull.runtime.oci.links import let_links_go, network_path, note_links, read_interfaces, require_other
from twinhull.runtime.oci.lookup import require_program
from twinhull.runtime.oci.seccomp import container_filter
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from twinhull.config import Config
    from twinhull.model import Facts, Volume
    from twinhull.plan.ops import Plan
    from twinhull.runtime.container import Prepared
    from twinhull.runtime.oci.conversation import Started
    from twinhull.runtime.oci.record import Record
    from twinhull.runtime.oci.streams import Streams

MAIN = "stand-in"  # the socket where the stand-in gets its conversation with the machine
# The caller keeps what the workload writes; ours is for nobody.
SHIM_FLAGS = ("--vital", "--remove", "--log-max", str(64 << 10))
HAND_OVER_TIMEOUT_S = 10.0
ATTACH = ("attach", "--stands-in", "--detach-keys", "", "--stdin")


class Handover(NamedTuple):
    """A socket at a name in a machine's directory, where one process gets a descriptor."""

    listener: socket
    path: str


def home(root: str, identity: str) -> str:
    """The machine's directory."""
    return f"{records.directory(root, identity)}/vm"


def prepare(root: str, record: Record, spec: Mapping[str, Any], facts: Facts, bundle: Bundle) -> Plan:
    """Return the plan of the stand-in, which waits for `start`; whatever the machine cannot honour is told now.

    Raises:
        Conflict: the pod has a container already.
        UnsupportedSpec: no machine can be what the field named in the message asks for.
    """
    require_alone(root, record)
    check_shares(compile_guest(adapted(root, record, spec), facts, bundle).shares)
    require_program(spec, bundle.root)
    if path := network_path(spec):
        require_other(path)
    config, directory = configuration.load(), home(root, record.id)
    limit = memory_of((spec.get("linux") or {}).get("resources") or {})
    from twinhull.plan.jail import OVERHEAD_BYTES

    size = vm.guest_bytes(config, limit) + OVERHEAD_BYTES
    files.make_directory(directory)
    words = (launcher(), *ATTACH, "--receive", MAIN)
    return compile_stand_in(spec, facts, bundle._replace(directory=directory), words, size)


def require_alone(root: str, record: Record) -> None:
    """A machine is made for one container: a pod that has one that has not ended gets no second.

    Raises:
        Conflict: there is another.
    """
    sandbox_id = sandbox_of(record.annotations)
    for name in sorted(os.listdir(root)) if sandbox_id else ():
        if name.startswith(".") or name == record.id:
            continue
        other = records.load(root, name)
        ours = records.GUEST in other.marks and sandbox_of(other.annotations) == sandbox_id
        if ours and records.status(root, other) == "stopped":
            clear(root, other)  # its links are those that the next will have
        elif ours:
            raise Conflict(
                f"a pod has one container in a virtual machine: {sandbox_id} has {other.id} already",
                hint="leave the other containers of the pod out, or run the pod with twinhull-oci",
            )


def adapted(root: str, record: Record, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec with the pod's hostname and sysctls, whose namespaces a machine cannot join."""
    if not (sandbox_id := sandbox_of(record.annotations)):
        return spec
    try:
        pod = records.config(root, sandbox_id)
    except (FileNotFoundError, InvalidRequest):
        return spec
    linux = spec.get("linux") or {}
    sysctls = {**((pod.get("linux") or {}).get("sysctl") or {}), **(linux.get("sysctl") or {})}
    hostname = spec.get("hostname") or pod.get("hostname") or ""
    return {**spec, "hostname": hostname, "linux": {**linux, "sysctl": sysctls}}


def check_shares(shares: tuple[Volume, ...]) -> None:
    """Refuse what a share cannot show.

    Raises:
        UnsupportedSpec: a socket or a device.
    """
    for volume in shares:
        mode = os.stat(volume.source).st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise UnsupportedSpec(
                f"mounts: {volume.target}: {volume.source} is a socket, a FIFO or a device of the host, which cannot "
                "be shared with a virtual machine"
            )


def start(root: str, record: Record) -> None:
    """Boot the machine, start the workload in it, and let the stand-in go on; all of it or nothing.

    Raises:
        GuestError: it did not come up.
        LaunchError: the program could not be executed.
    """
    config, facts, directory = configuration.load(), read_facts(), home(root, record.id)
    spec = adapted(root, record, records.config(root, record.id))
    take_back(directory, spec)  # what a start that was killed has left
    namespace = f"/proc/{record.pid}/ns/net"
    found = read_interfaces(namespace)
    note_links(directory, namespace, found)
    bundle = described(root, record, spec)
    guest = compile_guest(spec, facts, bundle, guest_ops(found))
    workload = workload_of(directory, spec, guest, bundle, host_ops(namespace, found))
    prepared = boot(config, workload)
    try:
        prepared.sandbox.start()
        given = offer(directory, MAIN)
        try:
            life.release(records.directory(root, record.id))
            give(given, prepared.sandbox.connection)
        finally:
            withdraw(given)
    except BaseException:
        prepared.sandbox.close()
        life.send(record, SIGKILL)
        clear(root, record)
        raise
    prepared.sandbox.close()


def described(root: str, record: Record, spec: Mapping[str, Any]) -> Bundle:
    """What the compiler needs beside the spec, of a container that is there."""
    from twinhull.plan.bundle_cgroups import Cgroup
    from twinhull.runtime.oci.streams import Streams

    seccomp = container_filter(root, (spec.get("linux") or {}).get("seccomp"))
    if seccomp.listener:
        raise UnsupportedSpec("linux.seccomp.listenerPath: the kernel that would ask is a virtual machine's")
    cgroup = Cgroup(record.unified, tuple((name, path) for name, path in record.legacy))
    return describe(root, record, cgroup, seccomp, Streams())


def workload_of(directory: str, spec: Mapping[str, Any], guest: Guest, bundle: Bundle, network: Any) -> vm.Workload:
    """The machine for a guest: in the container's groups and its network namespace."""
    resources = (spec.get("linux") or {}).get("resources") or {}
    return vm.Workload(
        identity=os.urandom(16).hex(),
        directory=directory,
        plan=guest.plan,
        network_host=network,
        network_undo=(),
        image="",
        durable=False,
        volumes=guest.shares,
        memory_bytes=memory_of(resources),
        cpus=processors_of(resources),
        groups=Groups(join_groups(bundle.cgroup), ()),
    )


def boot(config: Config, workload: vm.Workload) -> Prepared:
    """Start it from a template, or boot it where that fails."""
    if config.vm_template:
        try:
            return vm.start(config, workload, "template", flags=SHIM_FLAGS)
        except TemplateFailed:
            pass
    return vm.start(config, workload, "cold", flags=SHIM_FLAGS)


def offer(directory: str, name: str) -> Handover:
    """Listen for the process that shall have a conversation. The name goes through a descriptor: 108 bytes end soon."""
    listener, path = socket(AF_UNIX, SOCK_STREAM), f"{directory}/{name}"
    files.remove_file(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)
    listener.listen(1)
    listener.settimeout(HAND_OVER_TIMEOUT_S)
    return Handover(listener, path)


def give(offered: Handover, connection: Socket) -> None:
    """Hand the conversation to the process that asks.

    Raises:
        GuestError: nobody does; it was killed.
    """
    try:
        taker, _ = offered.listener.accept()
    except TimeoutError:
        raise GuestError("the process that stands for the virtual machine has ended") from None
    with taker:
        send_fds(taker, [b"\0"], [connection.fileno()])


def withdraw(offered: Handover) -> None:
    """Listen no more."""
    offered.listener.close()
    files.remove_file(offered.path)


def execute(root: str, record: Record, spec: Mapping[str, Any], streams: Streams) -> Started:
    """Start one more process in the guest, and one on the host that stands for it.

    Args:
        spec: the container's, with the process section of this one.

    Raises:
        Conflict: it has not been started, so there is no machine yet.
        LaunchError: the program could not be executed.
    """
    if records.status(root, record) != "running":
        raise Conflict("cannot exec in a virtual machine that was not started: container not running")
    if streams.preserve:
        raise UnsupportedSpec("--preserve-fds: a descriptor cannot be passed into a virtual machine")
    directory, bundle = home(root, record.id), described(root, record, spec)
    plan = compile_guest_exec(spec, read_facts(), bundle)
    conversation = sandbox.connect(directory)
    try:
        conversation.send_plan(Kind.EXEC, STREAM, encode(plan), Flag.STDIN_OPEN)
        conversation.expect(Kind.STARTED, STREAM)
        return stand_for(root, record, spec["process"], streams, conversation.connection, bundle)
    finally:
        conversation.close()


def stand_for(
    root: str, record: Record, process: Mapping[str, Any], streams: Streams, connection: Socket, bundle: Bundle
) -> Started:
    """Start the process of the host that has our caller's streams and goes on with a conversation."""
    directory, name = home(root, record.id), f"exec-{os.getpid()}"
    words = (launcher(), *ATTACH, "--stream", str(STREAM), "--receive", name)
    offered = offer(directory, name)
    try:
        plan = compile_exec_stand_in(process, bundle._replace(directory=directory), words)
        started = perform(plan, records.directory(root, record.id), join=record.pid, init=streams.init)
        give(offered, connection)
    finally:
        withdraw(offered)
    return started


def signal_all(root: str, record: Record, state: str, number: int) -> None:
    """Send a signal to every process in the guest; QEMU is none of them. One that has ended has nobody to send it to.

    Raises:
        Conflict: it is paused, and could not hear of it.
    """
    if state == "created":
        life.send(record, number)
    elif state == "paused":
        raise Conflict("container paused: its guest cannot be told of a signal")
    elif state == "running":
        conversation = sandbox.connect(home(root, record.id))
        conversation.signal(number, everyone=True)
        conversation.settle()
        conversation.close()


def clear(root: str, record: Record) -> None:
    """Let go of the machine: it ends with its stand-in, and if its shim was killed we undo what it has left."""
    directory = home(root, record.id)
    if not os.path.isdir(directory):
        return
    life.send_all(record, SIGKILL)
    take_back(directory, records.config(root, record.id))


def take_back(directory: str, spec: Mapping[str, Any]) -> None:
    """Wait for a shim that ends, and undo what one that was killed has left."""
    container.await_supervisor(directory)
    container.undo("", directory)
    let_links_go(directory, spec)
