"""Every mount option of runtime-spec 1.2 (Linux), sorted into what the system calls take. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.plan.namespaces import PROPAGATION
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# mount_setattr(2)
RDONLY, NOSUID, NODEV, NOEXEC, NODIRATIME, NOSYMFOLLOW = 0x1, 0x2, 0x4, 0x8, 0x80, 0x200000
ATIME, NOATIME, STRICTATIME = 0x70, 0x10, 0x20

# option -> (attributes that are set, attributes that are cleared)
ATTRIBUTES = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
    "noatime": (NOATIME, ATIME),
    "strictatime": (STRICTATIME, ATIME),
    **dict.fromkeys(("atime", "relatime", "norelatime", "nostrictatime"), (0, ATIME)),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
}
RECURSIVE = {f"r{name}": bits for name, bits in ATTRIBUTES.items()}
MEANS_NOTHING = {"defaults", "silent", "loud", "noiversion"}  # to the kernel, or to a mount
FSTAB = {"nofail", "noauto"}  # runc and crun let a bind have them; a file system refuses them
VOLUME = {"copy", "nocopy"}  # what Podman has done already, and passes on
SUPERBLOCK = {"sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime"}


class Change(NamedTuple):
    """Attributes to set and to clear on a mount, or on a whole tree."""

    on: int = 0
    off: int = 0

    def plus(self, bits: tuple[int, int]) -> Change:
        """A later option overrules an earlier one."""
        on, off = bits
        return Change(self.on & ~off | on, self.off & ~on | off)


class Options(NamedTuple):
    """The options of one mount.

    Attributes:
        bind: 0 none, 1 the mount alone, 2 its tree.
        own, tree: changes of the mount itself, and of all below it.
        propagation: MS_* flags in their order.
        idmap: "", "idmap" or "ridmap".
        data: what the file system itself reads.
    """

    bind: int
    remount: bool
    own: Change
    tree: Change
    propagation: tuple[int, ...]
    idmap: str
    copy_up: bool
    data: tuple[str, ...]


def split_options(options: Iterable[str], field: str, *, bind: int = 0) -> Options:
    """Sort options; `field` is the mount's place in the spec, for errors; `bind` is what its type says.

    Raises:
        InvalidRequest: an option of a bind that no mount has.
        UnsupportedSpec: one that only the old mount(2) could give.
    """
    found: dict[str, bool] = {}
    own, tree = Change(), Change()
    propagation, data = [], []
    idmap = ""
    for option in options:
        if option in ATTRIBUTES:
            own = own.plus(ATTRIBUTES[option])
        elif option in RECURSIVE:
            tree = tree.plus(RECURSIVE[option])
        elif option in ("bind", "rbind"):
            bind = 2 if option == "rbind" else 1
        elif option in PROPAGATION:
            propagation.append(PROPAGATION[option])
        elif option in ("idmap", "ridmap"):
            idmap = option
        elif option in ("remount", "tmpcopyup"):
            found[option] = True
        elif option == "iversion":
            raise UnsupportedSpec(f"{field}.options: 'iversion' is not supported")
        elif option not in MEANS_NOTHING:
            data.append(option)
    known = SUPERBLOCK | VOLUME | FSTAB
    if bind and (mapped := [option for option in data if option.startswith(("idmap=", "ridmap="))]):
        raise UnsupportedSpec(f"{field}.options: {mapped[0]!r}: mappings are uidMappings and gidMappings of the mount")
    if bind and (strange := [option for option in data if option not in known]):
        raise InvalidRequest(f"{field}.options: unknown option {strange[0]!r} of a bind")
    copy_up = "tmpcopyup" in found
    return Options(bind, "remount" in found, own, tree, tuple(propagation), idmap, copy_up, tuple(data))
