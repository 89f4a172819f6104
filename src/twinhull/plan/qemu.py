"""QEMU's command line, and the plan that puts QEMU into a container. Pure.

Promise: QEMU opens nothing by a path that a workload could name. Disks, memory, state, kernel, network
and control arrive as descriptors, whose numbers are the constants below.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    Accelerator = Literal["kvm", "tcg"]
    Memory = Literal["private", "saved", "restored", "copied"]
    Architecture = Literal["amd64", "arm64"]

# The numbers QEMU sees.
MEMORY_FD, STATE_FD, KERNEL_FD, INITRD_FD = 10, 11, 12, 13
IMAGE_FD, SCRATCH_FD, ENTROPY_FD = 20, 21, 22
TAP_FD = 61  # as the network's plan of a guest makes it; those of further networks lie below
MAX_NICS = 8  # the board has 24 places for devices
SPARE_NICS = 1  # beyond those of the networks: for one that is joined later, since the board takes none then
USUAL_NICS = 1 + SPARE_NICS
QMP_FD, AGENT_FD = 30, 31
IMPRINT_FD = 45
IMAGE_SET, SCRATCH_SET, ENTROPY_SET = 1, 2, 3

AGENT_PORT = "agent"
SHARES = "shares"  # directory of QEMU's root that is shared with the guest, and the tag of the share
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# A template is saved with disks of this size, which real ones may not exceed (QEMU, null-co).
PLACEHOLDER_BYTES = 1 << 40
PLACEHOLDER = f"driver=null-co,size={PLACEHOLDER_BYTES},read-zeroes=on"
# The same under a node whose file QMP can replace while the guest is there.
REPLACEABLE = f"driver=raw,file.driver=null-co,file.size={PLACEHOLDER_BYTES},file.read-zeroes=on"
TRANSLATION_CACHE_MB = 128
# By architecture. All have virtio-mmio, so the devices are the same; those of an Arm board must be told that they are
# not from before virtio 1.0.
BOARDS = {
    "amd64": ("microvm,acpi=on,pic=on,pit=on,rtc=on,isa-serial=on,usb=off,memory-backend=ram",),
    "arm64": ("virt,gic-version=3,memory-backend=ram", "-global", "virtio-mmio.force-legacy=false"),
}
# Where the disks are: QEMU gives out the places of an Arm board from the last, and its kernel counts from the first.
PLACES = {"amd64": ("", ""), "arm64": (",bus=virtio-mmio-bus.0", ",bus=virtio-mmio-bus.1")}
FIRST_CARD_PLACE = 2  # behind the disks
# What the host cannot read or write, for want of room too, is an error in the guest, which goes on. By default QEMU
# stops the guest until somebody tells its monitor otherwise.
ERRORS = "werror=report,rerror=report"
CONSOLES = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
# Signed pointers by the architecture's own algorithm would take most of the emulator's time.
PROCESSORS = {"amd64": "max", "arm64": "max,pauth-impdef=on"}
# QEMU makes up the processor's random numbers, from a state that all guests of one imprint begin with.
NOT_RANDOM = {"amd64": ",rdrand=off,rdseed=off", "arm64": ""}
# A guest tells what memory it does not use, and QEMU gives it back to the host. Only of memory that is nobody else's:
# what a template lends is mapped from a file, in which QEMU would make holes, and the file's seals forbid them.
RETURNS = ("-device", "virtio-balloon-device,id=balloon0,free-page-reporting=on")
# What xen-save-devices-state writes begins without the section that QEMU expects first.
DEVICES_ALONE = ("-global", "migration.send-configuration=off")
# A template's, for each card one; the workload's own are set by the plan in the guest.
GUEST_MAC = "52:54:00:00:00:01"


class Machine(NamedTuple):
    """What a guest sees of its machine: whatever differs here needs a template of its own.

    Attributes:
        memory_bytes: a power of two; the exact limit is the cgroup's.
        shares: it has a 9p device for volumes.
        nics: network cards; a board of this kind takes none while it runs.
        tsc_khz: rate of the host's time stamp counter, for TCG; the microvm has no clock to measure it by.
        architecture: of its processor; one that is not the host's is emulated.
        acpi: it describes itself by ACPI's tables; else the kernel's command line names its devices.
    """

    accelerator: Accelerator
    cpus: int
    memory_bytes: int
    shares: bool = False
    tsc_khz: int = 0
    architecture: Architecture = "amd64"
    nics: int = 1
    acpi: bool = True


class Drives(NamedTuple):
    """What lies behind the two disks: a descriptor, or zeroes.

    Attributes:
        durable: what the guest flushes must reach the host's disk, not only its cache.
        replaceable: they come later, while the guest waits for its workload.
    """

    image: bool = True
    scratch: bool = True
    durable: bool = True
    replaceable: bool = False


def arguments(machine: Machine, *, memory: Memory, drives: Drives, binary: str) -> tuple[str, ...]:
    """Return QEMU's argv.

    Args:
        memory: `private` is a cold boot of one workload; `saved` boots a template into the file at
            MEMORY_FD; `restored` starts from one, whose state comes from STATE_FD on QMP's word; `copied`
            is the same with the state of a guest that began as one, which is that of its devices alone.
    """
    return (
        binary,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-sandbox", SANDBOX),
        *machine_arguments(machine, memory),
        *control_arguments(),
        *device_arguments(machine, drives),
        *(RETURNS if memory == "private" else ()),
        *(DEVICES_ALONE if memory == "copied" else ()),
        *(("-incoming", "defer") if memory in ("restored", "copied") else boot_arguments(machine)),
    )


def machine_arguments(machine: Machine, memory: Memory) -> tuple[str, ...]:
    """Board, processor and RAM."""
    size = f"id=ram,size={machine.memory_bytes}"
    backend = f"memory-backend-file,{size},mem-path=/proc/self/fd/{MEMORY_FD},share=" + (
        "on" if memory == "saved" else "off"
    )
    if memory == "private":
        backend = f"memory-backend-ram,{size}"
    processor = PROCESSORS[machine.architecture] + (NOT_RANDOM[machine.architecture] if memory != "private" else "")
    return (
        *("-machine", *board(machine)),
        *accelerator_arguments(machine.accelerator, machine.cpus, processor),
        *("-smp", str(machine.cpus), "-m", f"size={machine.memory_bytes >> 20}M", "-object", backend),
    )


def board(machine: Machine) -> tuple[str, ...]:
    """The board with its options."""
    kind, *more = BOARDS[machine.architecture]
    if not machine.acpi:
        kind = kind.replace("acpi=on", "acpi=off")
    elif machine.accelerator == "tcg":
        # Its first counter runs from the reset on, and wakes QEMU 36 times a second if the guest never programs it; a
        # guest without ACPI's tables does, and does not come up without it.
        kind = kind.replace("pit=on", "pit=off")
    return (kind, *more)


def accelerator_arguments(accelerator: Accelerator, cpus: int, processor: str = PROCESSORS["amd64"]) -> tuple[str, ...]:
    """What runs the guest's instructions, and the processor that it sees."""
    if accelerator == "kvm":
        return ("-accel", "kvm", "-cpu", "host")
    thread = "single" if cpus == 1 else "multi"
    return ("-accel", f"tcg,thread={thread},tb-size={TRANSLATION_CACHE_MB}", "-cpu", processor)


def control_arguments() -> tuple[str, ...]:
    """QMP on an inherited listening socket; the guest's console on QEMU's own standard output."""
    return (
        *("-chardev", f"socket,id=qmp,fd={QMP_FD},server=on,wait=off", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", "stdio,id=console,signal=off,mux=off", "-serial", "chardev:console"),
    )


def device_arguments(machine: Machine, drives: Drives) -> tuple[str, ...]:
    """The few devices a workload needs: two disks, the agent's port, entropy, network, shares.

    There is always a tap, if only one that nobody listens to: a guest saved with the offloads of a tap
    starts on nothing else.
    """
    image = scratch = REPLACEABLE if drives.replaceable else PLACEHOLDER
    first, second = PLACES[machine.architecture]
    sets: list[str] = []
    if drives.image:
        sets += ("-add-fd", f"fd={IMAGE_FD},set={IMAGE_SET},opaque=image")
        image = f"driver=file,filename=/dev/fdset/{IMAGE_SET},locking=off"
    if drives.scratch:
        sets += ("-add-fd", f"fd={SCRATCH_FD},set={SCRATCH_SET},opaque=scratch")
        scratch = f"driver=file,filename=/dev/fdset/{SCRATCH_SET},locking=off,discard=unmap"
        scratch += "" if drives.durable else ",cache.no-flush=on"
    shares = (
        *("-fsdev", f"local,id=shares,path=/{SHARES},security_model=passthrough,multidevs=remap"),
        *("-device", f"virtio-9p-device,id=fs0,fsdev=shares,mount_tag={SHARES}"),
    )
    return (
        *sets,
        *("-blockdev", f"{image},node-name=image,read-only=on"),
        *("-device", f"virtio-blk-device,id=disk0,drive=image,{ERRORS}{first}"),
        *("-blockdev", f"{scratch},node-name=scratch"),
        *("-device", f"virtio-blk-device,id=disk1,drive=scratch,{ERRORS}{second}"),
        *("-device", "virtio-serial-device,id=serial0"),
        *("-chardev", f"socket,id=agent,fd={AGENT_FD}"),
        *("-device", f"virtserialport,bus=serial0.0,chardev=agent,name={AGENT_PORT}"),
        *("-add-fd", f"fd={ENTROPY_FD},set={ENTROPY_SET},opaque=entropy"),
        *("-object", f"rng-random,id=entropy,filename=/dev/fdset/{ENTROPY_SET}"),
        *("-device", "virtio-rng-device,id=rng0,rng=entropy"),
        *(word for number in range(machine.nics) for word in nic_arguments(machine, number)),
        *(shares if machine.shares else ()),
    )


def nic_arguments(machine: Machine, number: int) -> tuple[str, ...]:
    """One network card on its tap; of several, the guest finds them in this order."""
    pinned = machine.nics > 1 and machine.architecture == "arm64"
    place = f",bus=virtio-mmio-bus.{FIRST_CARD_PLACE + number}" if pinned else ""
    mac = f"{GUEST_MAC[:-2]}{number + 1:02x}"
    return (
        *("-netdev", f"tap,id=net{number},fd={TAP_FD - number},vhost=off"),
        *("-device", f"virtio-net-device,id=nic{number},netdev=net{number},mac={mac},guest_announce=off{place}"),
    )


def cards_in(words: Sequence[str]) -> int:
    """How many network cards the QEMU with this argv was started with."""
    return sum(word.startswith("tap,id=net") for word in words)


def boot_arguments(machine: Machine) -> tuple[str, ...]:
    """Kernel, archive and the kernel's own command line."""
    line = [f"console={CONSOLES[machine.architecture]}", "quiet", "reboot=t", "panic=-1"]
    line += ["random.trust_cpu=on", "cryptomgr.notests"]
    if machine.accelerator == "tcg" and machine.architecture == "amd64":
        # Without HPET and PM timer the kernel may hang while it measures the counter; and there is no
        # speculation to mitigate in translated code.
        line += [f"tsc_early_khz={machine.tsc_khz}", "tsc=reliable", "no_timer_check"]
    if machine.accelerator == "tcg":
        # What no workload in a machine of its own asks for, and each would translate: accounting of stalls,
        # auditing, the host's kinds of mandatory access control.
        line += ["mitigations=off", "psi=0", "audit=0", "lsm=landlock,yama"]
    return (
        *("-kernel", f"/proc/self/fd/{KERNEL_FD}", "-initrd", f"/proc/self/fd/{INITRD_FD}"),
        *("-append", " ".join(line)),
    )
