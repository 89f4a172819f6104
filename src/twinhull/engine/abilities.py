"""What this machine can do, as far as advice wants to know it.

Promise: nothing is started, fetched or written, and no guest is run unless a proof is asked for.
"""

from __future__ import annotations

import os

from twinhull.advice.question import Abilities
from twinhull.engine.state import Home
from twinhull.errors import HostUnfit, TwinhullError
from twinhull.host.facts import architecture, read
from twinhull.oci.platform import ALSO, normalise
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinhull.advice.question import Accelerator

BINFMT = "/proc/sys/fs/binfmt_misc"
UNPROVEN = "/dev/kvm opens, and no guest has run since the boot"


class Hypervisor(NamedTuple):
    """What guests run under here. `gap` says why none runs, "" if one does."""

    accelerator: Accelerator = ""
    reason: str = ""
    gap: str = ""


def read_abilities(home: Home, *, modules: Iterable[str] = (), prove: bool = False) -> Abilities:
    """Look at this machine.

    Args:
        modules: kernel modules that are needed.
        prove: run a guest if none has run since the boot; this may download a kernel.
    """
    from twinhull.engine.foreign import guests
    from twinhull.host import doctor
    from twinhull.host import modules as kernel_modules
    from twinhull.host.machine import meminfo
    from twinhull.machine import debian
    from twinhull.network.leases import ports_left

    facts = doctor.examine(home.config.launcher, home.config.state)
    missing = [*doctor.lacking(facts, "run"), *doctor.lacking(facts, "vm")]
    found = hypervisor(home, prove=prove)
    own = architecture()
    judged = [(name, kernel_modules.has(name)) for name in modules]
    wanted = [name for name, there in judged if not there]
    debians = debian.modules(home.config) if wanted else None
    return Abilities(
        accelerator=found.accelerator,
        reason=found.reason,
        no_container="; ".join(f"{fact.name}: {fact.detail}" for fact in missing if fact.needed_for == "run"),
        no_vm=found.gap or "; ".join(f"{fact.name}: {fact.detail}" for fact in missing),
        architectures=executed(own),
        guest_architectures=guests(home.config),
        missing_modules=tuple(name for name, there in judged if there is False),
        unknown_modules=tuple(name for name, there in judged if there is None),
        machine_modules=tuple(name for name in wanted if kernel_modules.plain(name) in (debians or ())),
        machine_lacks=tuple(name for name in wanted if debians and kernel_modules.plain(name) not in debians),
        bridge_ports=ports_left(home.db, "bridge"),
        free_memory_bytes=meminfo(read("/proc/meminfo")).get("MemAvailable", 0),
    )


def hypervisor(home: Home, *, prove: bool = False) -> Hypervisor:
    """The accelerator as a guest has proven it.

    Args:
        prove: run a guest where none has run since the boot.
    """
    from twinhull.runtime import accelerator
    from twinhull.runtime.hypervisor import installed

    try:
        known = accelerator.known(home.config, installed()[1])
        if known is None and prove:
            from twinhull.runtime import vm

            known = vm.prepare(home.config, home.notice).accelerator
    except HostUnfit as error:
        return Hypervisor(gap=error.message)
    except TwinhullError as error:
        return Hypervisor(reason=error.message)
    return Hypervisor(known.accelerator, known.reason) if known else Hypervisor(reason=UNPROVEN)


def executed(own: str) -> tuple[str, ...]:
    """The architectures whose programs this kernel executes in a container, emulated ones included."""
    emulated = [name.removeprefix("qemu-") for name in names(BINFMT) if name.startswith("qemu-")]
    found = [normalise("linux", name).architecture for name in emulated if serves_containers(f"{BINFMT}/qemu-{name}")]
    return tuple(dict.fromkeys((own, *ALSO.get(own, ()), *found)))


def serves_containers(path: str) -> bool:
    """True for an interpreter that is enabled and was opened when it was registered: no container has its file."""
    lines = read(path).splitlines()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return lines[:1] == ["enabled"] and "F" in flags


def names(path: str) -> list[str]:
    """The names in a directory, none if it is not there."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
