"""How a spare is made: a guest that plays a workload's whole life before it has one.

A copy of its agent gets the plan of a workload that has an image of ours, a network that nobody is on, and
a program that ends at once. What that ran is translated (TCG), whoever runs it next.

Promise: afterwards the guest has no image, no address and no process of the rehearsal, and stands still.
"""

from __future__ import annotations

import os
import time
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

from twinhull.config import Config
from twinhull.errors import GuestError, HostUnfit, LaunchError
from twinhull.host import files, netlink, spawn
from twinhull.host.facts import read_facts
from twinhull.host.netns import entered
from twinhull.host.stamp import stamp
from twinhull.plan.frames import Kind
from twinhull.plan.jail import Jail, imprinted, jail_plan, restored
from twinhull.plan.qemu import IMAGE_SET, IMPRINT_FD, MEMORY_FD, PLACEHOLDER_BYTES, Drives, Machine, arguments
from twinhull.runtime import jailed, qmp, vm
from twinhull.runtime.guest import kvm_device
from twinhull.runtime.spare import Spare, group_of, lay, put_disk
from twinhull.store import disk
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.runtime.template import Template
    from twinhull.runtime.vm import Prerequisites

TIMEOUT_S = 60.0
SOCKETS, QUIET_S = 2, 0.005  # the one at which its monitor listens, and the agent's port
BUSYBOX = "/bin/busybox"
PLACEHOLDER = "placeholder"
VERSION = 2
# As in most images: what is mounted and written has its place there already.
DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp")


class Rehearsal(NamedTuple):
    """What is played: the disk with the image, and the frames."""

    disk: str
    frames: bytes


def make_spare(
    config: Config,
    ready: Prerequisites,
    machine: Machine,
    template: tuple[Template, int],
    place: tuple[str, str],
    rehearsal: Rehearsal,
) -> Spare:
    """Return a guest in waiting.

    Args:
        template: the saved guest, and a descriptor of its memory.
        place: identity, and a directory made for it.

    Raises:
        GuestError: it did not come up, or could not be made ready.
        LaunchError: an op of its jail failed.
    """
    return spare_of(start_rehearsed(config, ready, machine, template, place, rehearsal), place)


def copy_imprint(
    config: Config, ready: Prerequisites, machine: Machine, lent: tuple[int, int], place: tuple[str, str]
) -> Spare:
    """Return a guest in waiting that goes on from an imprint.

    Args:
        lent: descriptors of the template's memory and of the imprint.

    Raises:
        LaunchError: an op of its jail failed.
    """
    identity, directory = place
    plan = jail_plan(imprinted(jail_of(ready, machine, identity)), read_facts())
    inherit = dict(zip((MEMORY_FD, IMPRINT_FD), lent, strict=True))
    started = jailed.start(ready.guest.launcher, directory, plan, inherit=inherit, flags=shim_flags(config, identity))
    return spare_of(started, place)


def try_imprint(
    config: Config, ready: Prerequisites, machine: Machine, lent: tuple[int, int], place: tuple[str, str]
) -> Spare:
    """Return a guest that goes on from an imprint which nobody has tried yet.

    Raises:
        HostUnfit: it does not: this kernel has something that cannot be put back.
    """
    failed = "QEMU's saved process does not go on here"
    try:
        spare = copy_imprint(config, ready, machine, lent, place)
    except LaunchError as error:
        raise HostUnfit(f"{failed}: {error.message}") from error
    try:
        monitor = qmp.connect(spare.directory, TIMEOUT_S)
        try:
            monitor.execute("query-status")
        finally:
            monitor.close()
        return spare
    except BaseException as error:
        jailed.end(jailed.Started(spare.conversation, 0, spare.directory, ready.guest.launcher))
        if isinstance(error, GuestError):
            raise HostUnfit(f"{failed}: {error.message}") from error
        raise


def spare_of(started: jailed.Started, place: tuple[str, str]) -> Spare:
    """What whoever takes a guest in waiting needs of it; the guest ends if that is not to be had."""
    try:
        namespace, inside = enter(started.qemu_pid)
    except BaseException:
        jailed.end(started)
        raise
    return Spare(*place, started.sandbox, namespace, inside)


def shim_flags(config: Config, identity: str) -> tuple[str, ...]:
    """What the shim of a guest in waiting is told."""
    return ("--exited", f"{config.run}/exited/{identity}", "--log-max", str(config.log_max_bytes))


def start_rehearsed(
    config: Config,
    ready: Prerequisites,
    machine: Machine,
    template: tuple[Template, int],
    place: tuple[str, str],
    rehearsal: Rehearsal,
) -> jailed.Started:
    """Start a guest from its template, have it rehearse, and stop it."""
    saved, memory = template
    identity, directory = place
    jail = restored(jail_of(ready, machine, identity), saved.state)
    plan, flags = jail_plan(jail, read_facts()), shim_flags(config, identity)
    started = jailed.start(ready.guest.launcher, directory, plan, inherit={MEMORY_FD: memory}, flags=flags)
    try:
        vm.resume(directory)
        rehearse(started, rehearsal)
        return started
    except BaseException:
        jailed.end(started)
        raise


def make_imprint(
    config: Config,
    ready: Prerequisites,
    machine: Machine,
    template: tuple[Template, int],
    place: tuple[str, str],
    rehearsal: Rehearsal,
) -> int:
    """Return a descriptor of the imprint of a QEMU whose guest has rehearsed; nothing else of that is left.

    Raises:
        HostUnfit: the process cannot be saved here.
        GuestError, LaunchError: as for a guest in waiting.
    """
    started = start_rehearsed(config, ready, machine, template, place, rehearsal)
    try:
        await_quiet(started.qemu_pid)
        return take_imprint(ready.guest.launcher, started.qemu_pid)
    finally:
        jailed.end(started)


def await_quiet(pid: int) -> None:
    """Return once QEMU has let go of the conversation with its monitor, which no other process could go on with."""
    deadline = time.monotonic() + TIMEOUT_S
    while sockets_of(pid) > SOCKETS and time.monotonic() < deadline:
        time.sleep(QUIET_S)


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def take_imprint(launcher: str, pid: int) -> int:
    """Save a process, which stands still from then on; return the descriptor of a memfd that nobody can change."""
    imprint = os.memfd_create("imprint", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        done = spawn.run_tool([launcher, "imprint", str(pid), str(imprint)], pass_fds=(imprint,))
        if done.returncode:
            raise HostUnfit(f"QEMU's process cannot be saved: {done.stderr.strip()[-300:]}")
        return imprint
    except BaseException:
        os.close(imprint)
        raise


def jail_of(ready: Prerequisites, machine: Machine, identity: str) -> Jail:
    """Return the jail of a spare's QEMU: disks that come later, and the limits of a workload's own."""
    drives = Drives(image=False, scratch=False, replaceable=True)
    qemu = ready.guest.hypervisor
    argv = arguments(machine, memory="restored", drives=drives, binary=qemu.binary)
    return Jail(
        identity=identity,
        cgroup=group_of(identity),
        root=qemu.root,
        argv=argv,
        seccomp=qemu.seccomp,
        memory_bytes=machine.memory_bytes,
        cpus=machine.cpus,
        kvm=kvm_device(machine),
        nics=machine.nics,
    )


def rehearse(started: jailed.Started, rehearsal: Rehearsal) -> None:
    """Play, take the disk away, and stop the guest."""
    monitor = qmp.connect(started.directory, TIMEOUT_S)
    try:
        put_disk(monitor, "image", rehearsal.disk, IMAGE_SET)
        started.sandbox.send(Kind.CONFIG, payload=rehearsal.frames)
        started.sandbox.send(Kind.PING, payload=b"done?")
        jailed.expect(started, Kind.PING, 0, time.monotonic() + TIMEOUT_S)
        take_disk(monitor)
        monitor.execute("stop")
    finally:
        monitor.close()


def take_disk(monitor: qmp.Monitor) -> None:
    """Take the image away again."""
    empty: dict[str, Any] = {"driver": "null-co", "size": PLACEHOLDER_BYTES, "read-zeroes": True}
    monitor.execute("blockdev-add", node_name=PLACEHOLDER, **empty)
    lay(monitor, "image", PLACEHOLDER)
    monitor.answer("blockdev-reopen")
    monitor.execute("blockdev-del", node_name="image-file")
    monitor.execute("remove-fd", fdset_id=IMAGE_SET)


def enter(pid: int) -> tuple[int, socket]:
    """Return a process's network namespace, and a netlink socket made in it."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with entered(namespace):
            inside = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, netlink.ROUTE)
    except BaseException:
        os.close(namespace)
        raise
    inside.settimeout(netlink.TIMEOUT_S)
    return namespace, inside


def image_disk(config: Config) -> str:
    """Return the disk with the image of rehearsals: the host's static busybox. Made the first time.

    Raises:
        HostUnfit: there is none, or no mkfs.erofs.
    """
    try:
        info = os.stat(BUSYBOX)
    except FileNotFoundError:
        raise HostUnfit(f"{BUSYBOX} is missing", hint="apt-get install busybox-static") from None
    path = f"{config.state}/cache/rehearsal-{stamp(VERSION, info.st_size, info.st_mtime_ns)}.erofs"
    if os.path.exists(path):
        return path
    files.make_directory(os.path.dirname(path))
    forget_disks(os.path.dirname(path))
    tree, made = f"{path}.{os.getpid()}", f"{path}.{os.getpid()}.erofs"
    try:
        for name in DIRECTORIES:
            files.make_directory(f"{tree}/{name}", 0o755)
        files.write(f"{tree}/bin/busybox", files.read(BUSYBOX), 0o755)
        os.symlink("busybox", f"{tree}/bin/sh")
        done = spawn.run_tool(["mkfs.erofs", "--quiet", made, tree])
        if done.returncode:
            raise HostUnfit(f"mkfs.erofs: {done.stderr.strip()[-300:]}", hint="apt-get install erofs-utils")
        disk.publish(made, path)
    finally:
        files.remove_tree(tree)
        files.remove_file(made)
    return path


def forget_disks(cache: str) -> None:
    """Delete disks of an earlier busybox, and what makers left that died."""
    for name in os.listdir(cache):
        if not name.startswith("rehearsal-"):
            continue
        maker = name.removesuffix(".erofs").partition(".")[2]
        if maker and os.path.exists(f"/proc/{maker}"):
            continue
        if name.endswith(".erofs"):
            files.remove_file(f"{cache}/{name}")  # a guest that has it open keeps it
        else:
            files.remove_tree(f"{cache}/{name}")
