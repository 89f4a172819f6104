"""QEMU's command line of a machine: a PC that an operating system boots from its own disk. Pure.

Promise: QEMU opens nothing by a path. Disks, network and control arrive as descriptors, whose numbers are the
constants below; the chain of a disk and the disk beneath it is spelled out here, whatever their headers say.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.plan.qemu import ERRORS, QMP_FD, SANDBOX, TAP_FD, accelerator_arguments, control_arguments
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.plan.qemu import Accelerator

GIVEN_FD, OVERLAY_FD = 20, 21
GIVEN_SET, OVERLAY_SET = 1, 2
GUEST_AGENT_FD = 32
GUEST_AGENT_PORT = "org.qemu.guest_agent.0"
# Sockets of the instance directory: QEMU's monitor, and the guest agent's port.
SOCKETS = ((QMP_FD, "qmp"), (GUEST_AGENT_FD, "guest-agent"))
# Without graphics SeaBIOS talks to the serial port, and so do boot loaders that ask it to.
BOARD = "q35,graphics=off,usb=off,sata=off,smbus=off,vmport=off"


class Computer(NamedTuple):
    """What an operating system finds."""

    accelerator: Accelerator
    cpus: int
    memory_bytes: int
    mac: str


def arguments(computer: Computer, *, binary: str) -> tuple[str, ...]:
    """Return QEMU's argv. It ends when the guest switches itself off; a reset starts the guest again."""
    return (
        binary,
        *("-nodefaults", "-no-user-config", "-display", "none", "-sandbox", SANDBOX),
        *("-machine", BOARD, *accelerator_arguments(computer.accelerator, computer.cpus)),
        *("-smp", str(computer.cpus), "-m", f"size={computer.memory_bytes >> 20}M"),
        *control_arguments(),
        *disk_arguments(),
        *device_arguments(computer),
    )


def disk_arguments() -> tuple[str, ...]:
    """The given disk, read-only and with nothing beneath it, under the disk that takes what is written."""
    given = {
        "driver": "qcow2",
        "node-name": "given",
        "read-only": True,
        "backing": None,
        "file": file_of(GIVEN_SET) | {"read-only": True},
    }
    overlay = {
        "driver": "qcow2",
        "node-name": "disk",
        "discard": "unmap",
        "backing": "given",
        "file": file_of(OVERLAY_SET) | {"discard": "unmap"},
    }
    return (
        *("-add-fd", f"fd={GIVEN_FD},set={GIVEN_SET},opaque=given"),
        *("-add-fd", f"fd={OVERLAY_FD},set={OVERLAY_SET},opaque=overlay"),
        *("-blockdev", jsontext.dumps(given), "-blockdev", jsontext.dumps(overlay)),
        *("-device", f"virtio-blk-pci,id=disk0,drive=disk,{ERRORS},bootindex=0"),
    )


def file_of(number: int) -> dict[str, Any]:
    """A file by its set of descriptors, with QEMU's locks: another QEMU that writes to it is an error."""
    return {"driver": "file", "filename": f"/dev/fdset/{number}", "locking": "on"}


def device_arguments(computer: Computer) -> tuple[str, ...]:
    """Network, entropy, and the port where a guest agent may listen."""
    return (
        *("-netdev", f"tap,id=net0,fd={TAP_FD},vhost=off"),
        *("-device", f"virtio-net-pci,id=nic0,netdev=net0,mac={computer.mac},romfile="),
        *("-object", "rng-builtin,id=entropy", "-device", "virtio-rng-pci,id=rng0,rng=entropy"),
        *("-chardev", f"socket,id=guest-agent,fd={GUEST_AGENT_FD},server=on,wait=off"),
        *("-device", "virtio-serial-pci,id=serial0"),
        *("-device", f"virtserialport,bus=serial0.0,chardev=guest-agent,name={GUEST_AGENT_PORT}"),
    )
