"""Compile the mounts of an OCI spec into launcher ops. Pure.

The launcher performs a bind as open_tree, mount_setattr (recursive), then move_mount onto a
descriptor from openat2(RESOLVE_IN_ROOT): no path inside the root is ever followed twice.
"""

from __future__ import annotations

from twinhull.errors import UnsupportedSpec
from twinhull.plan.ops import Op
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# mount_setattr(2)
RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
NOATIME, STRICTATIME, NODIRATIME, NOSYMFOLLOW = 0x10, 0x20, 0x80, 0x200000

SET = {
    "ro": RDONLY,
    "nosuid": NOSUID,
    "nodev": NODEV,
    "noexec": NOEXEC,
    "noatime": NOATIME,
    "strictatime": STRICTATIME,
    "nodiratime": NODIRATIME,
    "nosymfollow": NOSYMFOLLOW,
}
CLEAR = {"rw": RDONLY, "suid": NOSUID, "dev": NODEV, "exec": NOEXEC, "relatime": NOATIME | STRICTATIME}
PROPAGATION = {"private", "rprivate", "slave", "rslave"}
FLAGS = {"newinstance"}  # passed on as they are


class Options(NamedTuple):
    """Mount options, sorted into what each system call takes."""

    bind: bool
    recursive: bool
    attributes: int
    data: tuple[str, ...]


def compile_mounts(mounts: Iterable[Mapping[str, Any]]) -> tuple[Op, ...]:
    """Return one op a mount, in the order the spec lists them: a later one may lie inside an earlier.

    Raises:
        UnsupportedSpec: an option that neither the kernel nor we know; the message names it.
    """
    return tuple([compile_mount(mount) for mount in mounts])


def compile_mount(mount: Mapping[str, Any]) -> Op:
    """Return the op for one mount: `bind` of a tree, or `filesystem` of a type with its data."""
    options = split_options(mount.get("options", ()))
    target, source, kind = mount["destination"], mount.get("source", "none"), mount.get("type", "")
    if not target.startswith("/"):
        raise UnsupportedSpec(f"the mount target {target!r} is not absolute")
    if options.bind or kind == "bind":
        return Op("bind", (source, target, int(options.recursive), options.attributes))
    if kind == "cgroup":  # the cgroup namespace makes the workload's own leaf its root
        kind = "cgroup2"
    return Op("filesystem", (kind, source, target, options.attributes, ",".join(options.data)))


def split_options(options: Iterable[str]) -> Options:
    """Sort options: ("rbind", "ro", "size=64k") -> bind, recursive, RDONLY, ("size=64k",)."""
    bind = recursive = False
    attributes, data = 0, []
    for option in options:
        if option in SET:
            attributes |= SET[option]
        elif option in CLEAR:
            attributes &= ~CLEAR[option]
        elif option in ("bind", "rbind"):
            bind, recursive = True, option == "rbind"
        elif "=" in option or option in FLAGS:
            data.append(option)
        elif option not in PROPAGATION:
            raise UnsupportedSpec(f"mount option {option!r} is not supported")
    return Options(bind, recursive, attributes, tuple(data))
