"""What an image has at a volume's place, copied into the new volume: owners, modes, times, links and attributes.

Promise: it is read from inside the image's own root, where no link leads out; nothing is executed there, and what
could be a device or somebody's socket is left out. It runs in a process and a mount namespace of its own.
"""

from __future__ import annotations

import os
import stat

from twinhull.config import Config
from twinhull.errors import HostUnfit
from twinhull.model import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection

# As for an image's disk (store/disk.py): the kernel wants two lower directories, and mount(2).
MOUNT = """
cd "$1" && shift &&
LIBMOUNT_FORCE_MOUNT2=always mount -t overlay overlay -o "ro,lowerdir=$1:$2/empty" "$2/root" &&
exec "$3" -IS -c "$4" "$5" "$2/root" "$6" "$7"
"""
COPIER = "import sys; sys.path.insert(0, sys.argv[1]); from twinhull.store.copy_up import main; main(*sys.argv[2:])"
FROM = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = FROM | os.O_DIRECTORY
PIECE_BYTES = 1 << 24


def copy_up(config: Config, db: Connection, image: Image, target: str, volume: str) -> None:
    """Copy the directory `target` of an image into the empty directory `volume`; no such directory is fine.

    Raises:
        HostUnfit: it cannot be copied, the disk being full for instance.
    """
    import sys
    import tempfile

    from twinhull.host import spawn
    from twinhull.store import snapshot

    base, lower = snapshot.lower(config, db, image)
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with tempfile.TemporaryDirectory(prefix="copy-", dir=config.run) as work:
        for name in ("empty", "root"):
            os.mkdir(f"{work}/{name}")
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, "sh", base, lower, work]
        done = spawn.run_tool([*words, sys.executable or "python3", COPIER, package, target, volume])
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise HostUnfit(f"the image's {target} cannot be copied into its volume: {said[-200:]}")


def main(root: str, target: str, volume: str) -> None:
    """Copy, with `root` as our root directory."""
    to = os.open(volume, DIRECTORY)
    os.chroot(root)
    os.chdir("/")
    try:
        source = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, OSError):
        return
    copy_directory(source, to, {})


def copy_directory(source: int, to: int, links: dict[int, tuple[int, str]]) -> None:
    """Copy what a directory holds, then what it is; both descriptors are closed.

    Args:
        links: inode -> (descriptor of a directory of ours, name) of the files that have several names.
    """
    try:
        for name in os.listdir(source):
            copy_entry(source, to, name, links)
        take_over(source, to)
    finally:
        os.close(source)


def copy_entry(source: int, to: int, name: str, links: dict[int, tuple[int, str]]) -> None:
    """Copy one name."""
    status = os.lstat(name, dir_fd=source)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=to)
        copy_directory(os.open(name, DIRECTORY, dir_fd=source), os.open(name, DIRECTORY, dir_fd=to), links)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=to)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=to, follow_symlinks=False)
    elif stat.S_ISREG(status.st_mode):
        if status.st_nlink > 1 and status.st_ino in links:
            directory, first = links[status.st_ino]
            os.link(first, name, src_dir_fd=directory, dst_dir_fd=to)
            return
        copy_file(source, to, name)
        if status.st_nlink > 1:
            links[status.st_ino] = (to, name)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(name, stat.S_IMODE(status.st_mode), dir_fd=to)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=to)


def copy_file(source: int, to: int, name: str) -> None:
    """Copy a plain file."""
    reading = os.open(name, FROM, dir_fd=source)
    try:
        writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=to)
        try:
            while os.sendfile(writing, reading, None, PIECE_BYTES):  # from the file's own position
                pass
            take_over(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def take_over(source: int, to: int) -> None:
    """Give a file or directory the owner, attributes, mode and times of another: an owner takes set-uid bits away."""
    status = os.fstat(source)
    os.fchown(to, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        if not name.startswith(("trusted.overlay.", "user.overlay.")):
            os.setxattr(to, name, os.getxattr(source, name))
    os.fchmod(to, stat.S_IMODE(status.st_mode))
    os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))
