"""Disks for machines: the smallest that boots, made of a distribution's kernel and busybox, and kept between runs.

The tiny system says "tiny is up" on its console, obeys lines there, takes its address by DHCP, serves a page on port
80 and switches itself off by the power button. It writes to its disk only when it is told to.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.command import REPOSITORY, Twinhull
from twinhull.machine import bootable

CACHE = REPOSITORY / ".cache/machines"
VERSION = 3  # of what this file makes
KERNEL = "linux-image-cloud-amd64"
MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "button", "evdev"),
)
SIZE_BYTES = 64 << 20
SPARE_SECTOR = 100_000  # beyond what is on the disk, within its size
UP = "tiny is up"
GRUB = "linux /vmlinuz console=ttyS0 quiet mitigations=off root=/dev/ram0\ninitrd /initrd\nboot\n"
PROGRAMS = (
    "sh mount insmod ip udhcpc httpd acpid setsid cttyhack poweroff reboot hostname ping nslookup wget dd cat sleep"
)
SCRIPTS = {
    "init": f"""#!/bin/sh
        mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
        for pass in 1 2 3; do for module in /modules/*.ko; do insmod $module; done; done 2>/dev/null
        ip link set lo up; ip link set eth0 up
        acpid
        udhcpc -q -n -t 3 -T 1 -i eth0 -s /lease >/dev/null 2>&1
        httpd -p 80 -h /www
        echo {UP}
        while :; do setsid cttyhack sh /shell; done
    """,
    # No line editing: it asks the terminal where its cursor is, and takes what is typed meanwhile for the answer.
    "shell": """#!/bin/sh
        while printf '# ' && read -r line; do eval "$line"; done
    """,
    "lease": """#!/bin/sh
        [ "$1" = bound ] || exit 0
        ip addr add $ip/$mask dev $interface; ip route add default via $router
        echo nameserver $dns > /etc/resolv.conf; hostname $hostname
    """,
    "etc/acpi/PWRF/00000080": "#!/bin/sh\npoweroff -f\n",
    "www/index.html": "hello from a machine\n",
}


def tiny_disk() -> Path:
    """The disk, made if it is not in the cache: seconds, and the download of a kernel package the first time."""
    place = CACHE / f"{VERSION}-tiny.qcow2"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            work = CACHE / "unfinished"
            shutil.rmtree(work, ignore_errors=True)
            build(work)
            (work / "disk").rename(place)
            shutil.rmtree(work)
    return place


def build(work: Path) -> None:
    """Make kernel, initrd and disk."""
    package, tree, initrd = work / "package", work / "tree", work / "initrd"
    for directory in (package, tree / "boot/grub", initrd / "bin", initrd / "modules"):
        directory.mkdir(parents=True)
    for part in ("proc", "sys", "dev", "etc/acpi/PWRF", "var/log", "var/run", "www"):
        (initrd / part).mkdir(parents=True, exist_ok=True)
    unpack_kernel(package)
    for name in MODULES:
        (module,) = (package / "unpacked").rglob(f"{name}.ko")
        shutil.copy(module, initrd / "modules")
    shutil.copy("/bin/busybox", initrd / "bin/busybox")
    for program in PROGRAMS.split():
        (initrd / "bin" / program).symlink_to("busybox")
    for name, text in SCRIPTS.items():
        path = initrd / name
        path.write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    names = "\n".join(str(path.relative_to(initrd)) for path in sorted(initrd.rglob("*")))
    with (tree / "initrd").open("wb") as archive:
        words = ["cpio", "--quiet", "-o", "-H", "newc"]
        subprocess.run(words, cwd=initrd, input=names.encode(), stdout=archive, check=True)
    (vmlinuz,) = (package / "unpacked/boot").glob("vmlinuz-*")
    shutil.copy(vmlinuz, tree / "vmlinuz")
    (tree / "boot/grub/grub.cfg").write_text(GRUB)
    bootable.make_disk(str(tree), str(work / "disk"), SIZE_BYTES)


def unpack_kernel(directory: Path) -> None:
    """Download the newest kernel package and unpack it, without installing it."""
    shown = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=True).stdout
    (name,) = (line.split()[-1] for line in shown.splitlines() if "Depends: linux-image-" in line)
    subprocess.run(["apt-get", "-qq", "download", name], cwd=directory, check=True)
    (archive,) = directory.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, directory / "unpacked"], check=True)


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The tiny disk."""
    return tiny_disk()


def share_disks(command: Twinhull) -> None:
    """Let a command find the Debian disk that an earlier run made, or leave the one it makes to the next."""
    CACHE.mkdir(parents=True, exist_ok=True)
    link = command.root / "state/machines"
    if not os.path.lexists(link):
        link.symlink_to(CACHE)
