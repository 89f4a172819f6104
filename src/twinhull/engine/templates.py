"""Templates as a user sees them: made ahead, listed with what they cost, deleted.

Promise: deleting one disturbs nobody. Guests that were started from it keep its memory, and a start that
needs it makes it again.
"""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.config import Config
from twinhull.engine.state import Home
from twinhull.errors import InvalidRequest, NotFound
from twinhull.host import files, memory
from twinhull.runtime import holder, kernel, pool, template, vm
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.plan.qemu import Machine

BLOCK_BYTES = 512  # of st_blocks, whatever the file system's


class Listed(NamedTuple):
    """A template.

    Attributes:
        kernel, accelerator, architecture: "" if it does not say.
        memory_bytes: of the guests that start from it.
        shares: they can have volumes.
        disk_bytes: what it takes on the disk.
        held_bytes: what its holder keeps in memory, once for all guests; 0 without a holder.
        holder: its process, 0 for none.
        imprint_bytes: what the process takes that starts go on from, once for all of them; 0 without one.
        created, used: seconds since the epoch.
    """

    key: str
    kernel: str
    accelerator: str
    architecture: str
    cpus: int
    memory_bytes: int
    shares: bool
    disk_bytes: int
    held_bytes: int
    holder: int
    created: float
    used: float
    imprint_bytes: int = 0


def warm(home: Home, *, memory_bytes: int = 0, cpus: float = 0.0, shares: bool = False, platform: str = "") -> Listed:
    """Make the template that a workload with these limits starts from and its imprint, and have both held.

    Args:
        shares: the workload has volumes.
        platform: of its image, "linux/arm64"; "" is this machine's.

    Raises:
        InvalidRequest: the configuration wants no templates, or there is no such platform.
        HostUnfit: no guest here is for that platform.
        GuestError: the guest did not come up, or could not be saved.
    """
    from twinhull.engine import foreign, life, spares

    life.require_root(home)
    config = home.config
    if not config.vm_template:
        raise InvalidRequest(
            "the configuration has vm_template = false: nothing starts from a template",
            hint="remove vm_template from the configuration",
        )
    foreign.check(config, platform, "vm")
    ready = vm.prepare(config, home.notice, foreign.guest_of(platform))
    machine = vm.machine_for(config, ready, shares=shares, memory_bytes=memory_bytes, cpus=cpus)
    key = warmed(config, ready, machine, home)
    imprints = config.vm_spare and ready.guest.native and machine.accelerator == "tcg"
    if imprints and spares.is_lacking(config, machine, key):
        home.notice("Having a guest rehearse, from which the next ones go on (once)")
        spares.have_made(home, machine, key)
        spares.await_made(config)
    return describe(config, key)


def warmed(config: Config, ready: vm.Prerequisites, machine: Machine, home: Home) -> str:
    """Make a machine's template if need be, and return its name; its holder has the memory ready from now on."""
    saved, lent = vm.take_template(config, ready.guest, machine, home.notice)
    os.close(lent)
    return saved.key


def everything(config: Config) -> list[Listed]:
    """Return every template, the one that was used last first."""
    found = [describe(config, key) for key in keys(config)]
    return sorted(found, key=lambda row: row.used, reverse=True)


def keys(config: Config) -> list[str]:
    """The names of the templates that are whole."""
    try:
        names = os.listdir(f"{config.state}/templates")
    except FileNotFoundError:
        return []
    return [name for name in names if template.load(f"{config.state}/templates/{name}", name)]


def directory_of(config: Config, key: str) -> str:
    """Where a template lies."""
    return f"{config.state}/templates/{key}"


def can_wait(config: Config, key: str) -> bool:
    """True if guests of this template can wait for starts, which are those of the kernel that is booted now."""
    meta, machine = recorded(directory_of(config, key))
    now = kernel.present(config)
    return pool.serves(machine) and bool(now and now.digest == meta.get("kernel_digest", now.digest))


def describe(config: Config, key: str) -> Listed:
    """Return what is known of a template. One that goes meanwhile is of no size."""
    directory = directory_of(config, key)
    meta, machine = recorded(directory)
    process = memory.holder(f"{holder.directory_of(config, key)}/{holder.PID}")
    return Listed(
        key,
        meta.get("kernel", ""),
        machine.get("accelerator", ""),
        machine.get("architecture", ""),
        machine.get("cpus", 0),
        machine.get("memory_bytes", 0),
        machine.get("shares", False),
        memory.disk_bytes(directory),
        held(process, "template") if process else 0,
        process,
        meta.get("created", 0.0),
        max(meta.get("created", 0.0), last_used(directory)),
        held(process, "imprint") if process else 0,
    )


def of_kernel(config: Config, digest: str) -> list[str]:
    """The names of the templates that were made of the kernel with this digest."""
    return [key for key in keys(config) if recorded(directory_of(config, key))[0].get("kernel_digest") == digest]


def recorded(directory: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was written down when a template was made, and of which machine."""
    try:
        meta = jsontext.loads(files.read(f"{directory}/{template.META}"))
        return meta, meta.get("machine", {})
    except (OSError, ValueError, AttributeError):
        return {}, {}


def held(process: int, name: str) -> int:
    """Bytes of memory that a holder keeps under this name for guests to start from."""
    for number in memory.listing(f"/proc/{process}/fd"):
        path = f"/proc/{process}/fd/{number}"
        try:
            if os.readlink(path).startswith(f"/memfd:{name}"):
                return os.stat(path).st_blocks * BLOCK_BYTES
        except OSError:
            continue
    return 0


def last_used(directory: str) -> float:
    """When something was started from a template: its holder touches the file with the memory."""
    try:
        return os.stat(f"{directory}/{template.MEMORY}").st_mtime
    except FileNotFoundError:
        return 0.0


def remove(home: Home, beginning: str) -> None:
    """Delete the one template whose name begins like that, with its holder and its guest in waiting.

    Raises:
        NotFound: there is none, or more than one.
    """
    from twinhull.engine import life

    life.require_root(home)
    config = home.config
    found = [key for key in keys(config) if beginning and key.startswith(beginning)]
    if len(found) != 1:
        what = f"{len(found)} templates begin with {beginning}" if found else f"no template {beginning}"
        raise NotFound(what, hint="twinhull vm template ls")
    saved = template.load(f"{config.state}/templates/{found[0]}", found[0])
    if saved:
        template.discard(config, saved)
