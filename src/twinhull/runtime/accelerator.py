"""Which accelerator guests run under: KVM only where a real guest has run under it.

A /dev/kvm that opens says little: under some hypervisors QEMU dies at the guest's first instruction.
TCG is never called a wall (QEMU's security policy promises isolation with hardware virtualisation only).
"""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.config import Config
from twinhull.host import files
from twinhull.host.facts import boot_id, read
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.plan.qemu import Accelerator

DEVICE = "/dev/kvm"


class Choice(NamedTuple):
    """The accelerator, and why it is not KVM ("" if it is)."""

    accelerator: Accelerator
    reason: str


def choose(config: Config, build: str, probe: Callable[[], str]) -> Choice:
    """Return the accelerator for a build of QEMU; the answer of a probe holds until the next boot.

    Args:
        probe: runs a guest under KVM and returns "", or what went wrong.
    """
    if found := known(config, build):
        return found
    failure = probe()
    choice = Choice("tcg", f"a guest did not run under KVM: {failure}") if failure else Choice("kvm", "")
    path = proof_path(config, build)
    files.make_directory(os.path.dirname(path))
    files.publish(path, jsontext.dumps([boot_id(), *choice]).encode())
    return choice


def known(config: Config, build: str) -> Choice | None:
    """Return what is known without running a guest: that the device does not open, or a proof since the boot."""
    if obstacle := device_obstacle():
        return Choice("tcg", obstacle)
    proof = load(proof_path(config, build))
    return proof[1] if proof and proof[0] == boot_id() else None


def proof_path(config: Config, build: str) -> str:
    """Where the answer of a probe is kept."""
    return f"{config.state}/cache/accelerator-{build}.json"


def load(path: str) -> tuple[str, Choice] | None:
    """Return (boot id, choice) of an earlier probe."""
    try:
        boot, accelerator, reason = jsontext.loads(files.read(path))
    except (FileNotFoundError, ValueError):
        return None
    return boot, Choice("kvm" if accelerator == "kvm" else "tcg", reason)


def device_obstacle() -> str:
    """Why the device cannot even be opened, or ""."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{DEVICE}: {error.strerror}"
    return ""


def device_numbers() -> tuple[int, int]:
    """Return major and minor number of the device."""
    numbers = os.stat(DEVICE).st_rdev
    return os.major(numbers), os.minor(numbers)


def processor() -> str:
    """Name the processor: a template saved on one may not start on another."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    first = read("/proc/cpuinfo").partition("\n\n")[0]
    fields = (line.partition(":") for line in first.splitlines())
    return "\n".join(value.strip() for name, _, value in fields if name.strip() in wanted)
