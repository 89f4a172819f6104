"""A guest that is booted to see whether it boots: under KVM, or with a kernel that nobody has used yet."""

from __future__ import annotations

import os
import time

from twinhull.config import Config
from twinhull.errors import TwinhullError
from twinhull.host import files
from twinhull.host.facts import read_facts
from twinhull.plan.frames import Kind
from twinhull.plan.jail import Jail, jail_plan
from twinhull.plan.qemu import Drives, Machine, arguments
from twinhull.runtime import jailed
from twinhull.runtime.guest import Guest, boot_files, counter_rate, kvm_device
from twinhull.runtime.kernel import has_acpi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.qemu import Accelerator

KVM_TIMEOUT_S = 5.0
MEMORY_BYTES = 128 << 20


def boot(config: Config, guest: Guest, accelerator: Accelerator) -> str:
    """Boot a guest without disks: "" if its agent answers, otherwise what went wrong."""
    counts = accelerator == "tcg" and guest.architecture == "amd64"
    rate = counter_rate(config, guest.launcher) if counts else 0
    machine = Machine(accelerator, 1, MEMORY_BYTES, False, rate, guest.architecture, acpi=has_acpi(guest.kernel))
    identity = f"{os.getpid():08x}"
    directory = f"{config.run}/probe-{identity}"
    argv = arguments(machine, memory="private", drives=Drives(False, False), binary=guest.hypervisor.binary)
    jail = Jail(
        identity=identity,
        cgroup=f"/twinhull/probe-{identity}",
        root=guest.hypervisor.root,
        argv=argv,
        seccomp=guest.hypervisor.seccomp,
        opened=boot_files(guest),
        memory_bytes=machine.memory_bytes,
        kvm=kvm_device(machine),
    )
    files.make_directory(config.run)
    clear_old(config)
    files.make_directory(directory)
    timeout_s = KVM_TIMEOUT_S if accelerator == "kvm" else config.vm_boot_timeout_s
    try:
        started = jailed.start(guest.launcher, directory, jail_plan(jail, read_facts()), inherit={})
        try:
            started.sandbox.send(Kind.PING, payload=b"up?")
            jailed.expect(started, Kind.PING, 0, time.monotonic() + timeout_s)
        finally:
            jailed.end(started)
    except TwinhullError as error:
        return error.message.partition(": its console")[0]
    finally:
        files.remove_tree(directory)
    return ""


def clear_old(config: Config) -> None:
    """Undo trials whose process is gone."""
    for name in os.listdir(config.run):
        if name.startswith("probe-") and not os.path.exists(f"/proc/{int(name[6:], 16)}"):
            jailed.clear(config.launcher, f"{config.run}/{name}")
