"""Copies of a running virtual machine: saved while it stands still, and started as machines of their own.

Saved are the pages that differ from the template, the state of the devices, and the disk that is written to.

Promise: the original stands still for as long as that takes and goes on whatever comes of it, and of us. A copy has an
identity of its own before its workload goes on, and no network before it has that.
"""

from __future__ import annotations

import os
import time

from twinhull.config import Config
from twinhull.errors import Conflict, GuestError, HostUnfit
from twinhull.host import files, locks
from twinhull.plan import codec
from twinhull.plan.frames import Kind
from twinhull.plan.jail import restored
from twinhull.plan.qemu import MEMORY_FD, Drives, Machine, arguments
from twinhull.runtime import jailed, pages, qmp, sandbox, scratch
from twinhull.runtime.container import Prepared
from twinhull.runtime.guard import guarded
from twinhull.runtime.jailed import Started
from twinhull.runtime.pages import DISK, PAGES, STATE, Saved
from twinhull.runtime.sandbox import Sandbox
from twinhull.runtime.spare import Spare, connect
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.runtime.vm import Prerequisites, Workload

HOLD_TIMEOUT_S = 30.0  # many at once share the processors
MONITOR_TIMEOUT_S = 30.0
BRIEF_TIMEOUT_S = 2.0  # in the way of a command that wants something else
DEVICES_BYTES = 65536  # at least what their state takes
STATE_SET = 9  # of descriptors: of no disk


class Times(NamedTuple):
    """How long a machine stood still, and what was saved of its memory."""

    held_s: float
    memory_bytes: int


# --- saving


def held_marks(config: Config) -> str:
    """The directory of names of machines that stand still: whoever had them stopped may have been killed."""
    return f"{config.run}/held"


def save(config: Config, identity: str, machine: Machine, target: str, *, disk: bool) -> tuple[int, Times]:
    """Write a running machine to the directory `target`; return a descriptor of its template, too.

    The caller has the instance's lock.

    Raises:
        GuestError, HostUnfit, Conflict: it cannot be saved now; it goes on.
    """
    directory = config.instance(identity)
    with pages.qemu_of(identity) as process:
        mappings = process.mappings(machine.memory_bytes)
        memory = pages.borrow_template(process, mappings)
        try:
            with guarded(config.launcher, directory):
                began = time.monotonic()
                with held(directory), stopped(config, identity, directory) as monitor:
                    save_devices(monitor, f"{target}/{STATE}")
                    size = pages.save(process, mappings, f"{target}/{PAGES}")
                    if disk:
                        scratch.copy_sparse(f"{directory}/{DISK}", f"{target}/{DISK}")
                times = Times(time.monotonic() - began, size)
            config.mark("saved", note=str(size))
            return memory, times
        except BaseException:
            os.close(memory)
            raise


@contextmanager
def held(directory: str) -> Iterator[None]:
    """Have the guest hold its workload: afterwards nothing is on the way between it and the host."""
    conversation = sandbox.connect(directory)
    connection = conversation.connection
    try:
        connection.settimeout(HOLD_TIMEOUT_S)
        conversation.send(Kind.HOLD)
        refuse(conversation)
        try:
            yield
        finally:
            conversation.offer(Kind.RESUME)
        conversation.settle()
    except TimeoutError:
        raise GuestError("the virtual machine does not answer") from None
    finally:
        conversation.close()  # which lets a guest that was not told go on


def refuse(conversation: Sandbox) -> None:
    """Take the guest's answer to HOLD.

    Raises:
        Conflict: it cannot hold now.
        SupervisorLost: it has ended, or its supervisor is of an earlier version and knows no HOLD.
    """
    number = conversation.pid(conversation.expect(Kind.HOLD))
    if number:
        raise Conflict(f"the virtual machine cannot be held now: {os.strerror(number)}")


@contextmanager
def stopped(config: Config, identity: str, directory: str) -> Iterator[qmp.Monitor]:
    """Stop QEMU's processors, and let them go on; until then a mark says so to whoever comes after us."""
    files.make_directory(held_marks(config))
    mark = f"{held_marks(config)}/{identity}"
    files.write(mark, b"")
    monitor = qmp.connect(directory, MONITOR_TIMEOUT_S)
    try:
        try:
            monitor.execute("stop")
            yield monitor
        finally:
            monitor.deadline = time.monotonic() + MONITOR_TIMEOUT_S
            monitor.execute("cont")
        files.remove_file(mark)
    finally:
        monitor.close()


def let_go_on(config: Config, identity: str) -> None:
    """Let a machine go on that somebody stopped who was killed, or could not. The instance's lock is held."""
    directory = config.instance(identity)
    if locks.is_held(f"{directory}/alive"):
        try:
            monitor = qmp.connect(directory, BRIEF_TIMEOUT_S)
            try:
                monitor.execute("cont")
            finally:
                monitor.close()
        except GuestError:
            return  # it ends, or is paused: for a later command
    files.remove_file(f"{held_marks(config)}/{identity}")


def save_devices(monitor: qmp.Monitor, path: str) -> None:
    """Write the state of the devices: 30 kB, without the memory, which a migration would send.

    Raises:
        OSError: there is no room for it, which QEMU does not say.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        monitor.send("add-fd", fd, fdset_id=STATE_SET)
        monitor.answer("add-fd")
        try:
            monitor.execute("xen-save-devices-state", filename=f"/dev/fdset/{STATE_SET}", live=False)
        except GuestError:
            require_room(fd, path)
            raise
        finally:
            monitor.execute("remove-fd", fdset_id=STATE_SET)
    finally:
        os.close(fd)


def require_room(fd: int, path: str) -> None:
    """Raise the error of a file that cannot grow."""
    try:
        os.posix_fallocate(fd, 0, DEVICES_BYTES)
    except OSError as error:
        error.filename = path
        raise


# --- what it runs on


def require_same(identity: str, machine: Machine, binary: str, root: str, *, disk: bool, durable: bool) -> None:
    """Refuse where a copy would have another machine than the original.

    Raises:
        Conflict: QEMU was started with other words than it would be now, or is another.
    """
    with pages.qemu_of(identity) as process:
        words = tuple(process.read("cmdline").decode("utf-8", "replace").split("\0")[:-1])
        program = process.program(binary)
        try:
            same = os.path.samestat(os.fstat(program), os.stat(f"{root}{binary}"))
        finally:
            os.close(program)
    given = Drives(True, disk, durable)
    later = Drives(False, False, replaceable=True)
    known = [arguments(machine, memory="restored", drives=drives, binary=binary) for drives in (given, later)]
    known.append(arguments(machine, memory="copied", drives=given, binary=binary))
    booted = arguments(machine, memory="private", drives=given, binary=binary)
    if same and words[: len(booted)] == booted:
        raise Conflict(
            "it was booted: only one that began as a template has pages to compare with it",
            hint="twinhull restart, with vm_template = true and without --no-template",
        )
    if not same or words not in known:
        raise Conflict("its limits, the settings or QEMU have changed since it was started", hint="twinhull restart")


# --- starting


def start(config: Config, ready: Prerequisites, saved: Saved, workload: Workload, flags: tuple[str, ...]) -> Prepared:
    """Start a copy; its workload stands still until START.

    Raises:
        GuestError: it did not come up.
        LaunchError: an op of its jail failed, or it could not take its identity.
    """
    from twinhull.runtime import rehearsal, vm

    jail = restored(vm.make_jail(ready, saved.machine, workload, memory="copied"), saved.file(STATE))
    config.mark("planned")
    started = vm.launch(
        ready, jail, workload._replace(network_host=(), network_undo=()), {MEMORY_FD: saved.memory}, flags
    )
    config.mark("vmm")
    try:
        vm.send_plan(started, codec.encode(saved.identity), time.monotonic() + vm.RESTORE_TIMEOUT_S)
        resume(started, saved)
        config.mark("resumed")
        prepared = vm.wait_ready(started, time.monotonic() + vm.RESTORE_TIMEOUT_S)
        namespace, inside = rehearsal.enter(started.qemu_pid)
        try:
            place = Spare(workload.identity, workload.directory, started.sandbox, namespace, inside)
            connect(place, workload.directory, workload.network_host, workload.network_undo)
        finally:
            inside.close()
            os.close(namespace)
        return prepared
    except BaseException as error:
        jailed.end(started)
        if isinstance(error, OSError):
            raise HostUnfit(f"the copy cannot be connected to its network: {error.strerror}") from error
        raise


def resume(started: Started, saved: Saved) -> None:
    """Put the pages into QEMU's memory, load the state of the devices, and let the guest run."""
    from twinhull.runtime import vm

    monitor = qmp.connect(started.directory, vm.RESTORE_TIMEOUT_S)
    process = pages.Process(started.qemu_pid)
    try:
        size = saved.machine.memory_bytes
        pages.load(process, process.mappings(size), saved.file(PAGES), size)
        vm.load_state(monitor)
    finally:
        process.close()
        monitor.close()
