"""A Debian for machines: made once from the packages of this host's own sources, and kept.

Promise: what is given is whole, bootable and never changes afterwards; a build that fails or is killed leaves nothing
that a later one would take for a disk. Of two commands that want one, one makes it.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import HostUnfit
from twinhull.host import files, locks, spawn
from twinhull.host.facts import read
from twinhull.host.modules import within
from twinhull.host.stamp import stamp
from twinhull.machine.bootable import find_tool, grub_directory, make_disk
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Progress = Callable[[str], None]

VERSION = 1  # of what this file makes
SIZE_BYTES = 8 << 30  # what a machine sees; the file is as large as its content
# An operating system that boots, is administered over its console, gets its address by DHCP and answers the agent.
PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "zstd", "systemd-sysv", "udev", "kmod", "dbus"),
    *("systemd-resolved", "libnss-resolve", "netbase", "iproute2", "iputils-ping", "qemu-guest-agent"),
)
LEFT_OUT = ("man", "doc", "locale", "info")
ENABLED = ("systemd-networkd", "systemd-resolved")
# What waits for a network nobody needs, a screen that is not there, or looks after a disk that is thrown away.
MASKED = (
    *("systemd-networkd-wait-online.service", "getty@tty1.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
)
# Before the kernel's package makes its first file system: the modules of our disk alone, or 13 MB of them are unpacked
# at each boot.
INITRAMFS = {
    "etc/initramfs-tools/conf.d/modules": "MODULES=list\n",
    "etc/initramfs-tools/hooks/disk": (
        '#!/bin/sh\n[ "$1" != prereqs ] || exit 0\n. /usr/share/initramfs-tools/hook-functions\n'
        "manual_add_modules virtio_pci virtio_blk ext4\n"
    ),
}
EXECUTABLE = ("etc/initramfs-tools/hooks/disk",)
FILES = {
    "boot/grub/grub.cfg": "linux /vmlinuz root=/dev/vda1 ro console=ttyS0\ninitrd /initrd.img\nboot\n",
    "etc/fstab": "/dev/vda1 / ext4 discard 0 0\n",
    "etc/hostname": "debian\n",  # until DHCP says the machine's
    "etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "etc/machine-id": "",  # each machine draws its own
    "etc/systemd/network/80-dhcp.network": "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
    "etc/systemd/resolved.conf.d/names.conf": "[Resolve]\nResolveUnicastSingleLabel=yes\n",  # the workloads' names
    "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf": (
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 - $TERM\n"
    ),
}
LINKS = {"etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf"}


class Source(NamedTuple):
    """The release of this host, and the files of its package sources that have it."""

    codename: str
    paths: tuple[str, ...]

    def stamp(self) -> str:
        """What a disk made of them is named by."""
        return stamp(VERSION, self.codename, *map(read, self.paths))


def obtain(config: Config, progress: Progress = lambda _: None) -> str:
    """Return the path of the disk, made if it is not here: a minute or two.

    Raises:
        HostUnfit: this host is no Debian, or lacks a tool, packages or room.
    """
    source = find_source()
    directory, path = place(config, source)
    if os.path.exists(path):
        return path
    for name in ("mmdebstrap", "grub-mkimage", "qemu-img", "mke2fs"):
        find_tool(name)
    grub_directory()
    files.make_directory(directory)
    if locks.is_held(f"{directory}/lock"):
        progress("Waiting for another command that makes the Debian disk")
    with locks.locked(f"{directory}/lock"):
        if not os.path.exists(path):
            make(directory, path, source, progress)
    return path


def place(config: Config, source: Source) -> tuple[str, str]:
    """The directory of the disks, and the one that is made of these sources."""
    directory = f"{config.state}/machines"
    return directory, f"{directory}/debian-{source.codename}-{source.stamp()}.qcow2"


def modules(config: Config) -> frozenset[str] | None:
    """The modules that the disk's kernel has; None where no disk is here, or one that was made without the list."""
    try:
        text = read(list_of(place(config, find_source())[1]))
    except HostUnfit:
        return None
    return frozenset(text.split()) or None


def list_of(disk: str) -> str:
    """The file beside a disk that lists its modules, a name a line."""
    return f"{disk.removesuffix('.qcow2')}.modules"


def make(directory: str, path: str, source: Source, progress: Progress) -> None:
    """Build in a directory of its own, then give the disk its name. The lock is held."""
    work = f"{directory}/.debian"
    files.remove_tree(work)  # of a build that was killed
    files.make_directory(work)
    try:
        progress(f"Making a Debian disk from packages ({source.codename}, once)")
        bootstrap(f"{work}/tree", f"{work}/early", source, progress)
        configure(f"{work}/tree")
        progress("Making it bootable")
        make_disk(f"{work}/tree", f"{work}/disk", SIZE_BYTES)
        files.write(list_of(path), "".join(f"{name}\n" for name in sorted(within(f"{work}/tree"))).encode())
        publish(f"{work}/disk", path)
    finally:
        files.remove_tree(work)


def bootstrap(tree: str, early: str, source: Source, progress: Progress) -> None:
    """Let mmdebstrap download and install the packages.

    Raises:
        HostUnfit: it failed; the message is its last error.
    """
    write_files(early, INITRAMFS)
    argv = [find_tool("mmdebstrap"), "--mode=root", "--format=directory", "--variant=minbase"]
    argv += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in LEFT_OUT]
    argv += [f"--include={','.join(PACKAGES)}"]
    argv += [f"--essential-hook=copy-in {early}/etc /"]
    argv += [f'--customize-hook=chroot "$1" systemctl --quiet enable {" ".join(ENABLED)}']
    argv += [f'--customize-hook=chroot "$1" systemctl --quiet mask {" ".join(MASKED)}']
    argv += ['--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*']
    tool = spawn.popen([*argv, source.codename, tree, *source.paths])
    assert tool.stderr is not None
    with tool.stderr as lines:
        last = follow(lines, progress)
    if tool.wait():
        raise HostUnfit(f"the Debian disk cannot be made: {last or 'mmdebstrap failed'}", hint="apt-get update")


def follow(lines: Iterable[bytes], progress: Progress) -> str:
    """Tell what mmdebstrap says that it does; return its last error, or what it said last beside that."""
    last = ""
    for line in lines:
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("I: "):
            progress(f"  {text[3:]}")
        elif text.startswith("E: ") or not last.startswith("E: "):
            last = text or last
    return last


def configure(tree: str) -> None:
    """Write what makes a machine of the packages."""
    write_files(tree, FILES)
    for name, target in LINKS.items():
        files.remove_file(f"{tree}/{name}")
        os.symlink(target, f"{tree}/{name}")


def write_files(root: str, contents: dict[str, str]) -> None:
    """Write files below a directory, readable by everybody there."""
    before = os.umask(0o022)
    try:
        for name, text in contents.items():
            path = f"{root}/{name}"
            files.make_directory(os.path.dirname(path), 0o755)
            files.remove_file(path)  # a link of the tree's must not lead us elsewhere
            files.write(path, text.encode(), 0o755 if name in EXECUTABLE else 0o644)
    finally:
        os.umask(before)


def publish(work: str, path: str) -> None:
    """Sync and rename; from then on it is read only."""
    fd = os.open(work, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o400)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(work, path)
    files.sync_directory(os.path.dirname(path))


def find_source() -> Source:
    """Return the release of this host with its package sources.

    Raises:
        HostUnfit: it is no Debian, or its sources do not say where Debian is.
    """
    system = dict(fields(read("/etc/os-release")))
    codename = system.get("VERSION_CODENAME", "")
    if system.get("ID") != "debian" or not codename:
        raise HostUnfit(
            "--debian makes a disk from this host's own package sources, and this host is no Debian",
            hint="--disk FILE.qcow2 with a disk that Debian publishes for clouds",
        )
    paths = tuple(path for path in listed_sources() if {codename, "main"} <= set(read(path).split()))
    if not paths:
        raise HostUnfit(f"the package sources of this host do not name {codename}", hint="/etc/apt/sources.list.d")
    return Source(codename, paths)


def fields(text: str) -> Iterator[tuple[str, str]]:
    """Give the assignments of an os-release(5)."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name, value.strip("\"'")


def listed_sources() -> Iterator[str]:
    """Give the files that say where packages come from: the distribution's first."""
    yield from (path for path in ("/etc/apt/sources.list",) if os.path.exists(path))
    directory = "/etc/apt/sources.list.d"
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    yield from (f"{directory}/{name}" for name in names if name.endswith((".list", ".sources")))
