"""An image's users and groups as text, read once, so that no run opens a file of the image.

Promise: what is read lies in a layer of the image; a link on the way is not followed but ends the
search, as a file that is absent does.
"""

from __future__ import annotations

import errno
import os
import stat

from twinhull.host.facts import is_rootless
from twinhull.tuples import NamedTuple

MAX_BYTES = 1 << 20
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # opening a device, even in vain, could set it off


def opaque_xattr() -> str:
    """The attribute by which overlayfs knows that a directory hides those below; only root may write the usual one."""
    return "user.overlay.opaque" if is_rootless() else "trusted.overlay.opaque"


class Accounts(NamedTuple):
    """The texts of both files, "" where there is none."""

    passwd: str
    group: str


def read(layers: str, numbers: list[int]) -> Accounts:
    """Read both files of an image.

    Args:
        layers: the directory of all layers.
        numbers: those of the image, top first.
    """
    return Accounts(read_file(layers, numbers, "passwd"), read_file(layers, numbers, "group"))


def read_file(layers: str, numbers: list[int], name: str) -> str:
    """Return a file of /etc from the highest layer that says anything about it."""
    for number in numbers:
        try:
            directory = os.open(f"{layers}/{number}/etc", DIRECTORY)
        except FileNotFoundError:
            continue
        except OSError:
            return ""  # a link, a file or a whiteout
        try:
            text = read_in(directory, name)
            if text is not None or is_opaque(directory):
                return text or ""
        finally:
            os.close(directory)
    return ""


def read_in(directory: int, name: str) -> str | None:
    """Return the file's text, "" if it is hidden or no plain file, None if this layer does not have it."""
    try:
        found = os.open(name, FILE, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return ""
        with open(f"/proc/self/fd/{found}", "rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    finally:
        os.close(found)


def is_opaque(directory: int) -> bool:
    """True if lower layers are hidden here."""
    try:
        return os.getxattr(directory, opaque_xattr()) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return False
        raise
