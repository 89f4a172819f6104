"""What --privileged, --cap-add, --cap-drop and --security-opt make of a spec. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.model import Request
from twinhull.plan import defaults, seccomp, seccomp_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ALL = "CAP_ALL"
# In a guest every device is its own kernel's: the file system that the kernel fills stands for the nodes of a host.
GUEST_DEV = {"destination": "/dev", "type": "devtmpfs", "source": "devtmpfs", "options": ["nosuid", "mode=755"]}


def capabilities(request: Request) -> tuple[str, ...]:
    """The bounding set: ALL among the added takes all but the dropped; else dropped first, then added.

    Raises:
        InvalidRequest: a name that no kernel knows.
    """
    every = tuple(f"CAP_{name}" for name in defaults.CAPABILITY_NUMBERS)
    added, dropped = full(request.cap_add, "--cap-add"), full(request.cap_drop, "--cap-drop")
    if request.privileged:
        return every
    if ALL in added:
        return tuple(name for name in every if name not in dropped)
    kept = () if ALL in dropped else tuple(name for name in defaults.CAPABILITIES if name not in dropped)
    return (*kept, *(name for name in dict.fromkeys(added) if name not in kept))


def full(names: Iterable[str], flag: str) -> tuple[str, ...]:
    """The names in capitals and with their CAP_."""
    found = []
    for name in names:
        short = name.upper().removeprefix("CAP_")
        if short != "ALL" and short not in defaults.CAPABILITY_NUMBERS:
            raise InvalidRequest(f"{flag} {name}: no such capability", hint=f"{flag} NET_ADMIN, or ALL")
        found.append(f"CAP_{short}")
    return tuple(found)


def apply(spec: dict[str, Any], request: Request, kernel: str) -> None:
    """Change a spec that has the defaults.

    Args:
        kernel: the release that it will run on, "" where that is not known.

    Raises:
        InvalidRequest: an unknown capability, a profile that is none, privileges in a user namespace.
    """
    names = list(capabilities(request))
    sets = spec["process"]["capabilities"]
    spec["process"]["capabilities"] = {key: names if held else [] for key, held in sets.items()}
    linux = spec["linux"]
    if request.privileged or request.unmasked:
        linux["maskedPaths"], linux["readonlyPaths"] = [], []
    if request.privileged:
        unlock(spec, request)
    if request.seccomp not in ("", seccomp.UNCONFINED):
        linux["seccomp"] = seccomp_profile.section(seccomp_profile.read(request.seccomp), names, kernel)
    elif request.seccomp or request.privileged:
        spec["annotations"][seccomp.ANNOTATION] = seccomp.UNCONFINED


def unlock(spec: dict[str, Any], request: Request) -> None:
    """Every device, and the kernel's file systems to be written to."""
    if request.user_namespace:
        raise InvalidRequest(
            "--privileged and --userns private contradict each other: its privileges end with its user namespace",
            hint="leave one out",
        )
    spec["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    for mount in spec["mounts"]:
        if mount["type"] in ("sysfs", "cgroup"):
            mount["options"] = [option for option in mount["options"] if option != "ro"]
        if mount["destination"] == "/dev" and request.isolation == "vm":
            mount.update(GUEST_DEV)
