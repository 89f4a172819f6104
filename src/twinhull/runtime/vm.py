"""The virtual machine isolation: a guest from a template, or booted cold, behind a shim.

Promise: `start` returns a workload that waits for START, exactly as a container's does, or raises and
leaves nothing behind. Under TCG the wall is not one of hardware; nothing here says otherwise.
"""

from __future__ import annotations

import os
import time

from twinhull.config import Config
from twinhull.errors import GuestError, NoWall, TemplateFailed, TwinhullError, UnsupportedSpec
from twinhull.host.facts import read_facts
from twinhull.model import Volume
from twinhull.plan import codec
from twinhull.plan.cgroups import Groups
from twinhull.plan.frames import AGENT_HELLO, Kind
from twinhull.plan.guest import guest_plan
from twinhull.plan.jail import Jail, Opened, cards, jail_plan, restored
from twinhull.plan.ops import Op, Plan
from twinhull.plan.qemu import IMAGE_FD, MEMORY_FD, SCRATCH_FD, STATE_FD, USUAL_NICS, Drives, Machine, arguments
from twinhull.runtime import accelerator, holder, jailed, qmp, template
from twinhull.runtime.accelerator import Choice
from twinhull.runtime.container import Prepared, launcher_path
from twinhull.runtime.guest import Guest, boot_files, check_memory, counter_rate, find_guest, kvm_device
from twinhull.runtime.jailed import SAID_NOTHING, Started
from twinhull.runtime.kernel import has_acpi
from twinhull.runtime.spare import Spare, connect, wake
from twinhull.runtime.template import Template
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Literal

    from twinhull.plan.qemu import Architecture, Memory
    from twinhull.runtime.pages import Saved

    Progress = Callable[[str], None]
    # Where a guest comes from.
    Origin = Spare | Saved | Literal["template", "cold"]

RESTORE_TIMEOUT_S = 30.0  # many at once share the processors: ten take several seconds on two
EARLY_PLAN_BYTES = 64 << 10  # so much may wait on the way to a guest that does not run yet
# What the guest's kernel takes of its memory before a workload has any.
KERNEL_BYTES = 64 << 20


class Prerequisites(NamedTuple):
    """What this host gives a virtual machine."""

    guest: Guest
    accelerator: Choice


class Workload(NamedTuple):
    """One start.

    Attributes:
        identity: hexadecimal id of the instance.
        directory: the instance directory.
        plan: host and child stages to be performed in the guest, compiled for the place "guest".
        network_host: ops that make namespace, links and ports; network_undo takes them back.
        image: the image as an erofs file, "" where the root is shared.
        scratch: the scratch disk, "" where the plan asks for memory instead.
        durable: what the guest syncs must be on the host's disk.
        cpu: linux.resources.cpu, for the limits around QEMU.
        walled: it starts under KVM or not at all.
        architecture: of the guest's processor; None is this machine's.
        groups: cgroups that are there, in place of one of its own.
    """

    identity: str
    directory: str
    plan: Plan
    network_host: tuple[Op, ...]
    network_undo: tuple[Op, ...]
    image: str
    scratch: str = ""
    durable: bool = True
    volumes: tuple[Volume, ...] = ()
    memory_bytes: int = 0
    cpus: float = 0.0
    cpu: Mapping[str, Any] = {}
    walled: bool = False
    architecture: Architecture | None = None
    groups: Groups | None = None


def prepare(
    config: Config, progress: Progress = lambda _: None, architecture: Architecture | None = None
) -> Prerequisites:
    """Return what virtual machines boot from and run under; the first time this downloads a kernel.

    Args:
        architecture: of the guest's processor; None is this machine's.

    Raises:
        HostUnfit: a part is missing and cannot be had.
    """
    guest = find_guest(config, progress, architecture)
    if not guest.native:
        return Prerequisites(guest, Choice("tcg", f"the guest's processor is {guest.architecture}, which is emulated"))
    choice = accelerator.choose(config, guest.hypervisor.build, lambda: try_kvm(config, guest, progress))
    return Prerequisites(guest, choice)


def try_kvm(config: Config, guest: Guest, progress: Progress) -> str:
    """Run a guest under KVM, which happens once: "" if its agent answers, otherwise what went wrong."""
    from twinhull.runtime import trial

    progress("Trying hardware virtualisation")
    return trial.boot(config, guest, "kvm")


def machine_for(
    config: Config, ready: Prerequisites, *, shares: bool = False, memory_bytes: int = 0, cpus: float = 0.0
) -> Machine:
    """Return the machine for a workload with these limits.

    Args:
        shares: it has volumes.

    Raises:
        InvalidRequest: more memory than the host has.
        UnsupportedSpec: volumes with a kernel that has no 9p.
    """
    if shares and "shares" not in ready.guest.kernel.features:
        raise UnsupportedSpec(
            f"the guest kernel {ready.guest.kernel.release} cannot share volumes: it has no 9p",
            hint="set vm_kernel in the configuration to a kernel with 9p, or leave -v out",
        )
    check_memory(memory_bytes)
    check_memory(config.vm_memory_bytes, "vm_memory_bytes")
    memory = guest_bytes(config, memory_bytes)
    architecture, used = ready.guest.architecture, ready.accelerator.accelerator
    counts = used == "tcg" and architecture == "amd64"
    rate = counter_rate(config, ready.guest.launcher) if counts else 0
    acpi = has_acpi(ready.guest.kernel)
    return Machine(used, max(1, -int(-cpus // 1)), memory, shares, rate, architecture, USUAL_NICS, acpi)


def guest_bytes(config: Config, memory_bytes: int) -> int:
    """Return the memory of the machine for a workload with this limit, 0 for none."""
    wanted = max(config.vm_memory_bytes, memory_bytes + KERNEL_BYTES if memory_bytes else 0)
    return 1 << (wanted - 1).bit_length()


def start(
    config: Config,
    workload: Workload,
    origin: Origin,
    *,
    flags: tuple[str, ...] = (),
    progress: Progress = lambda _: None,
) -> Prepared:
    """Start a virtual machine and perform the workload's plan in it; its process waits for START.

    Args:
        flags: of the shim; a spare has its own.

    Raises:
        TemplateFailed: the template or spare did not start; what was made for it is undone, the network too.
        ImprintFailed: the same of an imprint, which is forgotten.
        NoWall: the workload needs the processor's, and this would not be one.
        GuestError: it did not come up in time.
        LaunchError: an op failed, on the host or in the guest.
    """
    if isinstance(origin, Spare):
        require_wall(workload, Choice("tcg", "guests in waiting run under it alone"))
        return start_spare(config, origin, workload)
    ready = prepare(config, progress, workload.architecture)
    require_wall(workload, ready.accelerator)
    machine = machine_for(
        config, ready, shares=bool(workload.volumes), memory_bytes=workload.memory_bytes, cpus=workload.cpus
    )._replace(nics=cards(workload.network_host))
    used = ready.accelerator.accelerator
    if not isinstance(origin, str):
        from twinhull.runtime import fork

        return fork.start(config, ready, origin, workload, flags)._replace(accelerator=used)
    if origin == "cold":
        return start_cold(config, ready, machine, workload, flags=flags)._replace(accelerator=used)
    if config.vm_spare and used == "tcg":
        from twinhull.runtime import imprint

        if lent := imprint.borrow(config, ready, machine):
            return imprint.start(config, ready, machine, workload, lent, flags)._replace(accelerator=used)
    try:
        prepared = start_template(config, ready, machine, workload, flags=flags, progress=progress)
        return prepared._replace(accelerator=used)
    except GuestError as error:
        raise TemplateFailed(f"the template did not start ({first_line(error)})") from error


def require_wall(workload: Workload, choice: Choice) -> None:
    """Refuse a guest that nobody promises a wall for, where the workload needs one.

    Raises:
        NoWall: the accelerator is not KVM.
    """
    if workload.walled and choice.accelerator != "kvm":
        raise NoWall(
            f"it is not trusted, and a guest under TCG is no security boundary; KVM is missing ({choice.reason})",
            hint="--accept-weak-wall runs it all the same, and inspect and ps will say so",
        )


def start_spare(config: Config, spare: Spare, workload: Workload) -> Prepared:
    """Give a guest in waiting its disks, its network and its plan."""
    config.mark("planned")
    started = Started(spare.conversation, 0, workload.directory, launcher_path(config.launcher))
    try:
        connect(spare, workload.directory, workload.network_host, workload.network_undo)
        wake_up = lambda: wake(workload.directory, workload.image, workload.scratch, durable=workload.durable)  # noqa: E731
        return begin(config, started, workload.plan, wake_up)._replace(accelerator="tcg")  # under KVM none waits
    except BaseException as error:
        jailed.end(started)
        if isinstance(error, GuestError | OSError):
            raise TemplateFailed(f"the guest in waiting did not start ({error})") from None
        raise


def first_line(error: TwinhullError) -> str:
    """What happened, without what the console says."""
    return error.message.partition(": its console")[0].removesuffix(SAID_NOTHING)


def start_template(
    config: Config,
    ready: Prerequisites,
    machine: Machine,
    workload: Workload,
    *,
    flags: tuple[str, ...] = (),
    progress: Progress = lambda _: None,
) -> Prepared:
    """Start from the machine's template, which is made first if need be."""
    saved, memory = take_template(config, ready.guest, machine, progress)
    try:
        jail = restored(make_jail(ready, machine, workload, memory="restored"), saved.state)
        config.mark("planned")
        started = launch(ready, jail, workload, {MEMORY_FD: memory}, flags)
        config.mark("vmm")
    finally:
        os.close(memory)
    try:
        return begin(config, started, workload.plan, lambda: resume(workload.directory))
    except BaseException as error:
        jailed.end(started)
        if isinstance(error, GuestError):
            template.discard(config, saved)
            raise jailed.guest_error(started, first_line(error)) from None
        raise


def begin(config: Config, started: Started, plan: Plan, let_run: Callable[[], None]) -> Prepared:
    """Send the plan to a guest that does not run yet, and let it run; a large plan does not fit on the way."""
    encoded = codec.encode(guest_plan(plan))
    early = len(encoded) <= EARLY_PLAN_BYTES
    deadline = time.monotonic() + RESTORE_TIMEOUT_S
    if early:
        send_plan(started, encoded, deadline)
    let_run()
    config.mark("resumed")
    if not early:
        send_plan(started, encoded, deadline)
    return wait_ready(started, deadline)


def take_template(config: Config, guest: Guest, machine: Machine, progress: Progress) -> tuple[Template, int]:
    """Return the template and its memory; one whose memory is damaged is made again, once."""
    for _ in range(2):
        saved = template.find_template(config, guest, machine)
        if saved is None:
            saved = template.make_template(config, guest, machine, progress)
        memory = holder.borrow_memory(config, guest.launcher, saved.key, saved.memory, saved.digest)
        if memory is not None:
            return saved, memory
        template.discard(config, saved)
    raise GuestError("the template's memory cannot be read")


def start_cold(
    config: Config, ready: Prerequisites, machine: Machine, workload: Workload, *, flags: tuple[str, ...] = ()
) -> Prepared:
    """Boot a guest for one workload."""
    jail = make_jail(ready, machine, workload, memory="private")
    jail = jail._replace(opened=(*jail.opened, *boot_files(ready.guest)))
    config.mark("planned")
    started = launch(ready, jail, workload, {}, flags)
    config.mark("vmm")
    try:
        deadline = time.monotonic() + config.vm_boot_timeout_s
        send_plan(started, codec.encode(guest_plan(workload.plan)), deadline)
        if config.trace and ready.guest.native:
            mark_boot(config, ready, started, deadline)
        return wait_ready(started, deadline)
    except BaseException:
        jailed.end(started)
        raise


def mark_boot(config: Config, ready: Prerequisites, started: Started, deadline: float) -> None:
    """Mark when the guest's processor began, and when its agent did: the agent's HELLO counts from the first."""
    frame = jailed.expect(started, Kind.HELLO, 0, deadline)
    while len(frame.payload) < AGENT_HELLO.size:  # the shim's own
        frame = jailed.expect(started, Kind.HELLO, 0, deadline)
    now_ns, rate_khz = time.monotonic_ns(), counter_rate(config, ready.guest.launcher)
    _, began, now = AGENT_HELLO.unpack(frame.payload)
    config.mark("processor", now_ns - now * 1_000_000 // rate_khz)
    config.mark("agent", now_ns - (now - began) * 1_000_000 // rate_khz)


def make_jail(ready: Prerequisites, machine: Machine, workload: Workload, *, memory: Memory) -> Jail:
    """Return the jail for a workload's QEMU."""
    drives = Drives(image=bool(workload.image), scratch=bool(workload.scratch), durable=workload.durable)
    opened = [Opened(IMAGE_FD, workload.image, os.O_RDONLY)] if workload.image else []
    if workload.scratch:
        opened.append(Opened(SCRATCH_FD, workload.scratch, os.O_RDWR))
    return Jail(
        identity=workload.identity,
        cgroup=f"/twinhull/{workload.identity}",
        root=ready.guest.hypervisor.root,
        argv=arguments(machine, memory=memory, drives=drives, binary=ready.guest.hypervisor.binary),
        seccomp=ready.guest.hypervisor.seccomp,
        opened=tuple(opened),
        volumes=workload.volumes,
        memory_bytes=machine.memory_bytes,
        cpus=machine.cpus,
        resources={"cpu": workload.cpu} if workload.cpu else {},
        kvm=kvm_device(machine),
        groups=workload.groups,
        nics=machine.nics,
    )


def launch(
    ready: Prerequisites, jail: Jail, workload: Workload, inherit: Mapping[int, int], flags: tuple[str, ...]
) -> Started:
    """Start the jailed QEMU of a workload."""
    plan = jail_plan(jail, read_facts(), workload.network_host, workload.network_undo)
    return jailed.start(ready.guest.launcher, workload.directory, plan, inherit=inherit, flags=flags)


def send_plan(started: Started, encoded: bytes, deadline: float) -> None:
    """Send the guest's plan; it waits in the agent's port until somebody there reads it.

    Raises:
        GuestError: nobody does, and it is larger than what can wait.
    """
    connection = started.sandbox.connection
    connection.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        started.sandbox.send_plan(Kind.PLAN, 0, encoded)
    except TimeoutError:
        raise jailed.guest_error(started, "the virtual machine does not take its plan") from None
    finally:
        connection.settimeout(None)


def wait_ready(started: Started, deadline: float) -> Prepared:
    """Return once the guest has performed the plan."""
    jailed.expect(started, Kind.READY, 0, deadline)
    return Prepared(started.sandbox, started.shim_pid)


def resume(directory: str) -> None:
    """Load the template's state into QEMU and let the guest run."""
    monitor = qmp.connect(directory, RESTORE_TIMEOUT_S)
    try:
        load_state(monitor)
    finally:
        monitor.close()


def load_state(monitor: qmp.Monitor) -> None:
    """Load what lies at STATE_FD and let the guest run.

    Raises:
        GuestError: QEMU refused it.
    """
    template.set_capabilities(monitor)
    monitor.send("migrate-incoming", uri=f"fd:{STATE_FD}")
    monitor.answer("migrate-set-capabilities")
    monitor.answer("migrate-incoming")
    ended = monitor.wait_for("MIGRATION", lambda data: data.get("status") in ("completed", "failed"))
    if ended["status"] != "completed":
        raise GuestError("QEMU refused the saved state")
    monitor.execute("cont")
