"""The device nodes that a workload gets beyond those that all have, as a spec names them."""

from __future__ import annotations

import os
import stat

from twinhull.errors import InvalidRequest
from twinhull.model import Device, Request
from twinhull.plan.defaults import DEVICES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# What every workload has of its own below /dev.
OWN = frozenset(("console", "fd", "hugepages", "mqueue", "ptmx", "pts", "shm"))
# What a guest's kernel has whatever is loaded, beside what all workloads have: Documentation/admin-guide/devices.txt.
GUEST = {"/dev/hwrng": (10, 183), "/dev/kmsg": (1, 11), "/dev/mem": (1, 1), "/dev/port": (1, 4)}
COMMON = {f"/dev/{name}": (major, minor) for name, major, minor in DEVICES}


def nodes(request: Request) -> list[dict[str, Any]]:
    """Entries of linux.devices, with the access of those that --device names.

    Raises:
        InvalidRequest: no such device; for a guest, none of its kernel's.
    """
    guest = request.isolation == "vm"
    found = list(walk("/dev")) if request.privileged and not guest else []
    for device in request.devices:
        found += guest_node(device) if guest else host_nodes(device)
    return found


def guest_node(device: Device) -> Iterator[dict[str, Any]]:
    """A node of the guest's own kernel."""
    numbers = COMMON.get(device.source) or GUEST.get(device.source)
    if not numbers:
        if not os.path.lexists(device.source):
            raise InvalidRequest(
                f"--device {device.source}: No such file or directory", hint=f"one of {', '.join((*COMMON, *GUEST))}"
            )
        raise InvalidRequest(
            f"--device {device.source}: the host's kernel drives it, and a virtual machine has its own kernel, "
            f"which has {', '.join((*COMMON, *GUEST))}",
            hint="run it as a container, or leave the device out",
        )
    major, minor = numbers
    mode = 0o666 if device.source in COMMON else 0o600
    row = {"path": device.target, "type": "c", "major": major, "minor": minor, "fileMode": mode, "uid": 0, "gid": 0}
    yield {**row, "access": device.access}


def host_nodes(device: Device) -> Iterator[dict[str, Any]]:
    """A node of the host, or every node of a directory."""
    try:
        status = os.stat(device.source)
        if stat.S_ISDIR(status.st_mode):
            found = [(device.target + row["path"].removeprefix(device.source), row) for row in walk(device.source)]
        else:
            row = node(device.target, status)
            found = [(device.target, row)] if row else []
    except OSError as error:
        hint = "a node that is there: /dev/fuse"
        raise InvalidRequest(f"--device {device.source}: {error.strerror}", hint=hint) from None
    if not found:
        raise InvalidRequest(f"--device {device.source}: not a device node", hint="-v shows files and directories")
    yield from ({**row, "path": path, "access": device.access} for path, row in found)


def walk(directory: str) -> Iterator[dict[str, Any]]:
    """The nodes of a directory and of those below it; what goes away meanwhile is left out."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if directory == "/dev" and entry.name in OWN:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path)
            elif row := node(entry.path, entry.stat(follow_symlinks=False)):
                yield row
        except OSError:
            continue


def node(path: str, status: os.stat_result) -> dict[str, Any] | None:
    """One entry of linux.devices, None for what is no device."""
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return None
    return {
        "path": path,
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
