"""Images for another processor than this machine's: what runs them here, and what would.

Promise: what nothing here runs is refused before it is fetched, with the package that makes it run.
"""

from __future__ import annotations

from twinhull.config import Config
from twinhull.engine import abilities
from twinhull.errors import HostUnfit
from twinhull.host import facts
from twinhull.oci.platform import ALSO, parse
from twinhull.runtime import container, hypervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.qemu import Architecture

MADE_FOR_TWO = "the first process of a guest, its machine and the list of system calls are made for these"
# Debian's, which registers every emulator with binfmt_misc so that containers have it too.
USER_EMULATORS = "apt-get install qemu-user-static binfmt-support"


def guest_of(platform: str) -> Architecture | None:
    """The processor of the guests that run a platform's images; None is this machine's.

    Args:
        platform: "linux/arm64", or as a user may write it; "" is this machine's.

    Raises:
        HostUnfit: no guest is described that does.
    """
    if not platform or facts.executes(platform) or facts.executes(str(parse(platform))):
        return None
    wanted = parse(platform).architecture
    for architecture in hypervisor.EMULATORS:
        if wanted in (architecture, *ALSO.get(architecture, ())):
            return architecture
    raise HostUnfit(
        f"virtual machines are for amd64 and arm64, not for {wanted}: {MADE_FOR_TWO}",
        hint=f"without --vm: {container_way(wanted)}",
    )


def container_way(architecture: str) -> str:
    """What runs a foreign architecture's programs in a container."""
    if architecture in abilities.executed(facts.architecture()):
        return "a container runs it here"
    return f"{USER_EMULATORS} lets a container run it"


def check(config: Config, platform: str, isolation: str) -> None:
    """Refuse a platform that nothing here runs in this isolation.

    Args:
        platform: as images name it, "" for one that is not known.

    Raises:
        HostUnfit: it is so; the hint names a package.
        InvalidRequest: there is no such platform.
    """
    if not platform or facts.executes(str(parse(platform))):
        return
    platform = str(parse(platform))
    if isolation == "vm":
        require_guest(config, guest_of(platform))
    else:
        require_interpreter(config, platform)


def require_guest(config: Config, architecture: Architecture | None) -> None:
    """Refuse what guests with this processor lack here: QEMU, or the program that is their first process."""
    if architecture:
        hypervisor.installed(architecture)
        container.foreign_launcher(config.launcher, architecture)


def require_interpreter(config: Config, platform: str) -> None:
    """Refuse a platform whose programs this kernel does not execute, not even by an emulator."""
    wanted = parse(platform).architecture
    if wanted in abilities.executed(facts.architecture()):
        return
    hint = f"{USER_EMULATORS} lets a container run it"
    try:
        require_guest(config, guest_of(platform))
        hint = f"--vm runs it in a virtual machine; {hint}"
    except HostUnfit:
        pass
    raise HostUnfit(f"this kernel does not execute programs for {wanted}", hint=hint)


def guests(config: Config) -> tuple[str, ...]:
    """The architectures whose programs guests here execute, this machine's first."""
    found = [facts.architecture()]
    for architecture in hypervisor.EMULATORS:
        try:
            if architecture not in found:
                require_guest(config, architecture)
                found.append(architecture)
        except HostUnfit:
            continue
    return tuple(name for architecture in found for name in (architecture, *ALSO.get(architecture, ())))
