"""What every virtual machine of this host boots from: hypervisor, kernel, first file system.

Promise: when `find_guest` returns, all of it is on disk and named by what it was made from.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import files, spawn
from twinhull.host.stamp import stamp
from twinhull.plan.jail import Opened
from twinhull.plan.qemu import INITRD_FD, KERNEL_FD, Machine
from twinhull.runtime import accelerator
from twinhull.runtime.container import foreign_launcher, launcher_path
from twinhull.runtime.hypervisor import Hypervisor, find_hypervisor, own
from twinhull.runtime.kernel import Kernel, find_kernel
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.plan.qemu import Architecture

KEPT_INITRDS = 2


class Guest(NamedTuple):
    """The parts that a virtual machine is booted from.

    Attributes:
        launcher: this machine's.
        initrd: names the archive in the cache.
        architecture: of the guest's processor.
    """

    launcher: str
    hypervisor: Hypervisor
    kernel: Kernel
    initrd: str
    initrd_path: str
    architecture: Architecture

    @property
    def native(self) -> bool:
        """True if its processor is of this machine's kind."""
        return self.architecture == own()


def find_guest(
    config: Config,
    progress: Callable[[str], None],
    architecture: Architecture | None = None,
    kernel: Kernel | None = None,
) -> Guest:
    """Return the parts, made or downloaded the first time.

    Args:
        architecture: of the guest's processor; None is this machine's.
        kernel: boot this one, whichever is chosen.

    Raises:
        HostUnfit: QEMU is not installed, or no kernel can be had.
    """
    here = own()
    wanted = architecture or here
    launcher = launcher_path(config.launcher)
    hypervisor = find_hypervisor(config, wanted)
    agent = launcher if wanted == here else foreign_launcher(config.launcher, wanted)
    kernel = kernel or find_kernel(config, progress, wanted)
    info = os.stat(agent)
    name = stamp(info.st_size, info.st_mtime_ns, kernel.digest)
    kind = "initrd-" if wanted == here else f"{wanted}-initrd-"
    path = f"{config.state}/cache/{kind}{name}"
    if not os.path.exists(path):
        from twinhull.runtime.initrd import publish_initrd

        files.make_directory(os.path.dirname(path))
        forget_old(os.path.dirname(path), kind)
        publish_initrd(path, agent, kernel.module_paths)
    return Guest(launcher, hypervisor, kernel, name, path, wanted)


def forget_old(directory: str, kind: str) -> None:
    """Delete archives of earlier launchers, but for the newest: a guest may be booting from it."""
    names = [name for name in os.listdir(directory) if name.startswith(kind)]
    paths = sorted((f"{directory}/{name}" for name in names), key=lambda path: os.stat(path).st_mtime_ns)
    for path in paths[: -(KEPT_INITRDS - 1)]:
        files.remove_file(path)


def boot_files(guest: Guest) -> tuple[Opened, ...]:
    """What QEMU reads to boot; a template needs neither."""
    return (
        Opened(KERNEL_FD, guest.kernel.image, os.O_RDONLY),
        Opened(INITRD_FD, guest.initrd_path, os.O_RDONLY),
    )


def kvm_device(machine: Machine) -> tuple[int, ...]:
    """Return the numbers of the device that the machine's accelerator needs, () for none."""
    return accelerator.device_numbers() if machine.accelerator == "kvm" else ()


def counter_rate(config: Config, launcher: str) -> int:
    """Return the rate of the time stamp counter in kHz, measured once a boot."""
    from twinhull.host.facts import boot_id

    path = f"{config.state}/cache/tsc"
    boot = boot_id()
    try:
        known, _, rate = files.read(path).decode().partition(" ")
        if known == boot:
            return int(rate)
    except (FileNotFoundError, ValueError):
        pass
    answer = spawn.run_tool([launcher, "tsc"])
    if not answer.stdout.strip().isdigit():
        raise HostUnfit("the rate of the time stamp counter cannot be measured")
    files.make_directory(os.path.dirname(path))
    files.publish(path, f"{boot} {answer.stdout.strip()}".encode())
    return int(answer.stdout)


def check_memory(memory_bytes: int, setting: str = "") -> None:
    """Refuse a workload's limit that this machine has no memory for.

    Args:
        setting: the configuration's, where the number is from there.

    Raises:
        InvalidRequest: it is so.
    """
    if memory_bytes > (here := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        hint = f"mend {setting} in the configuration" if setting else ""
        raise InvalidRequest(
            f"this machine has {here >> 20}m of memory, and a virtual machine cannot have more", hint=hint
        )
