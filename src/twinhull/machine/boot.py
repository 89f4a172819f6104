"""The plan of a machine: its QEMU, jailed as a virtual machine's is, under the shim that containers have.

QEMU is the shim's own process and the serial console its terminal: attaching, the log, the size of the log and the
record of the exit are those of every workload. The shim copies the console's bytes and reads no meaning into them.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import InvalidRequest
from twinhull.host.facts import read_facts
from twinhull.machine.disk import OVERLAY
from twinhull.model import Disk, Request
from twinhull.plan import pc
from twinhull.plan.jail import Jail, Opened, jail_plan
from twinhull.plan.pc import GIVEN_FD, OVERLAY_FD, SOCKETS, Computer
from twinhull.plan.qemu import GUEST_MAC
from twinhull.runtime import accelerator
from twinhull.runtime.hypervisor import Hypervisor, find_hypervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.plan.compile import Network
    from twinhull.plan.ops import Plan
    from twinhull.runtime.accelerator import Choice

DEFAULT_MEMORY_BYTES = 512 << 20
MINIMUM_MEMORY_BYTES = 32 << 20  # SeaBIOS, a boot loader and the smallest Linux
ROWS, COLUMNS = 24, 80  # a serial console has no size; what a getty assumes


def make_plan(
    config: Config,
    identity: str,
    request: Request,
    network: Network,
    *,
    mac: str = GUEST_MAC,
    size: tuple[int, int] = (0, 0),
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Plan, str]:
    """Return the plan of one start, and the accelerator that its QEMU runs under.

    Args:
        identity: hexadecimal id of the instance.
        request: `disk` is its disk; memory and processors are the computer's.
        mac: of its network card.
        size: rows and columns of the terminal that will be attached.

    Raises:
        HostUnfit: QEMU is not installed.
    """
    assert request.disk is not None, "a machine has a disk"
    hypervisor = find_hypervisor(config)
    choice = choose_accelerator(config, hypervisor, progress)
    memory = request.memory_bytes or DEFAULT_MEMORY_BYTES
    computer = Computer(choice.accelerator, max(1, int(request.cpus)), memory, mac)
    jail = Jail(
        identity=identity,
        cgroup=f"/twinhull/{identity}",
        root=hypervisor.root,
        argv=pc.arguments(computer, binary=hypervisor.binary),
        seccomp=hypervisor.seccomp,
        opened=opened(request.disk, config.instance(identity)),
        memory_bytes=computer.memory_bytes,
        cpus=computer.cpus,
        kvm=accelerator.device_numbers() if choice.accelerator == "kvm" else (),
        sockets=SOCKETS,
        terminal=size if any(size) else (ROWS, COLUMNS),
    )
    return jail_plan(jail, read_facts(), network.host, network.undo), choice.accelerator


def opened(disk: Disk, directory: str) -> tuple[Opened, ...]:
    """The files that QEMU gets: the given one cannot be written through what it gets."""
    return (
        Opened(GIVEN_FD, disk.path, os.O_RDONLY),
        Opened(OVERLAY_FD, f"{directory}/{OVERLAY}", os.O_RDWR),
    )


def choose_accelerator(config: Config, hypervisor: Hypervisor, progress: Callable[[str], None]) -> Choice:
    """KVM where a guest of ours ran under it; that guest is looked for only where the device opens."""

    def probe() -> str:
        from twinhull.runtime.guest import find_guest
        from twinhull.runtime.vm import try_kvm

        return try_kvm(config, find_guest(config, progress), progress)

    return accelerator.choose(config, hypervisor.build, probe)


def check_size(request: Request) -> None:
    """Refuse a computer that this host cannot be.

    Raises:
        InvalidRequest: too little memory for anything, or more than the host has.
    """
    here = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if request.memory_bytes > here:
        raise InvalidRequest(f"--memory: this host has {here >> 20}m, and a machine cannot have more")
    if 0 < request.memory_bytes < MINIMUM_MEMORY_BYTES:
        raise InvalidRequest("--memory: too little for an operating system", hint="at least 32m; 512m if left out")
