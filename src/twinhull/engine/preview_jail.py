"""The jail of a virtual machine that does not exist: QEMU's plan and command line, made without any effect.

Promise: nothing is downloaded, started or written; what is not known yet is assumed, and the notes say so.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.host.facts import read_facts
from twinhull.host.seccomp import qemu_filter
from twinhull.model import Request, in_order
from twinhull.oci.spec import cpu_limits
from twinhull.plan.compile import Network
from twinhull.plan.jail import cards, jail_plan, restored
from twinhull.plan.ops import Plan
from twinhull.plan.qemu import Machine
from twinhull.runtime import accelerator, guest, hypervisor, kernel, vm
from twinhull.runtime.accelerator import Choice
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.qemu import Architecture

UNTRIED = Choice("tcg", "not tried")


class Jail(NamedTuple):
    """The plan around a QEMU, and what was assumed in it."""

    plan: Plan
    notes: tuple[str, ...]


def jail_of(
    config: Config, request: Request, network: Network, identity: str, architecture: Architecture | None
) -> Jail:
    """The jail of a request's virtual machine, which starts from a template unless it is to boot.

    Args:
        architecture: of the guest's processor; None is this machine's.

    Raises:
        HostUnfit: QEMU is not installed.
    """
    wanted, notes = architecture or hypervisor.own(), []
    binary, build = hypervisor.installed(architecture)
    choice = UNTRIED if architecture else accelerator.known(config, build)
    if choice is None:
        choice = UNTRIED
        notes.append("whether a guest runs under KVM was not tried since the boot: TCG is assumed")
    booted = kernel.cached(f"{config.state}/kernels-{wanted}") if architecture else kernel.present(config)
    if booted is None:
        notes.append("no guest kernel is here yet: one that finds its devices by ACPI is assumed")
        booted = kernel.Kernel(f"{config.state}/kernels/example", "", "", (), (), "")
    parts = guest.Guest(
        launcher="",
        hypervisor=hypervisor.Hypervisor(binary, build, f"{config.state}/qemu/{build}/root", qemu_filter(config.state)),
        kernel=booted,
        initrd="example",
        initrd_path=f"{config.state}/cache/initrd-example",
        architecture=wanted,
    )
    workload = workload_of(config, request, network, identity, architecture)
    cold = request.boots or not config.vm_template or bool(architecture)
    if choice.accelerator == "tcg" and not architecture:
        notes += emulated(config, cold=cold)
    machine = Machine(
        choice.accelerator,
        max(1, -int(-request.cpus // 1)),
        vm.guest_bytes(config, request.memory_bytes),
        bool(request.volumes),
        architecture=wanted,
        nics=cards(network.host),
        acpi=kernel.has_acpi(booted),
    )
    ready = vm.Prerequisites(parts, choice)
    jail = vm.make_jail(ready, machine, workload, memory="private" if cold else "restored")
    if cold:
        jail = jail._replace(opened=(*jail.opened, *guest.boot_files(parts)))
    else:
        jail = restored(jail, f"{config.state}/templates/example/state")
    return Jail(jail_plan(jail, read_facts(), network.host, network.undo), tuple(notes))


def emulated(config: Config, *, cold: bool) -> list[str]:
    """What else a start under TCG does."""
    if cold:
        return ["tsc_early_khz is measured at the start"]
    if config.vm_spare:
        return ["with an imprint of the template QEMU is not executed but goes on from it, and has its disks later"]
    return []


def workload_of(
    config: Config, request: Request, network: Network, identity: str, architecture: Architecture | None
) -> vm.Workload:
    """What a start would be given, with example names of the disks."""
    directory = config.instance(identity)
    return vm.Workload(
        identity=identity,
        directory=directory,
        plan=Plan((), (), ()),
        network_host=network.host,
        network_undo=network.undo,
        image=f"{config.state}/disks/example.erofs",
        scratch="" if request.remove else os.path.join(directory, "scratch"),
        durable=not request.remove,
        volumes=tuple(in_order(request.volumes)),
        memory_bytes=request.memory_bytes,
        cpus=request.cpus,
        cpu=cpu_limits(request),
        architecture=architecture,
    )
