"""The images that the tests of runc and Podman take, as archives, made of Debian's packages."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "nobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n",
}
_FOLDERS = (
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "lib",
    "home",
    "root",
    "dev",
    "proc",
    "srv",
    "sys",
    "var/www",
    "var/spool/mail",
)
_WITHOUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/zoneinfo/*")


# What the tests of Podman look for: a date, and a program that a pod's first container may have.
_TESTIMAGE = {
    "etc/services": "domain\t53/udp\n",
    "home/podman/testimage-id": "20220615\n",
    "home/podman/pause": """#!/bin/sh
echo Confirmed: testimage pause invoked as $0
while :; do sleep 0.1; done
""",
}
_TESTIMAGE_DATE = 1_600_000_000  # seconds; `run --tz` compares it


def busybox(archive: Path, further: Callable[[Path], None] = lambda root: None) -> None:
    """Write the archive of a root with busybox and its links, as the image of that name has it, and more."""
    if archive.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        for name in _FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        root.chmod(0o755)
        (root / "etc").mkdir()
        for name, text in _FILES.items():
            (root / name).write_text(text)
        subprocess.run(["cp", "/bin/busybox", root / "bin/busybox"], check=True)
        names = subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
        for name in set(names.split()) - {"busybox"}:
            (root / "bin" / name).hardlink_to(root / "bin/busybox")
        further(root)
        written = archive.with_suffix(".partial")
        subprocess.run(["tar", "--create", f"--file={written}", f"--directory={root}", "."], check=True)
        written.rename(archive)


def testimage(archive: Path) -> None:
    """Write the archive of the root that Podman's tests run."""
    busybox(archive, add_testimage)


def add_testimage(root: Path) -> None:
    """Add what Podman's tests look for."""
    (root / "home/podman").mkdir()
    for name, text in _TESTIMAGE.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)
        os.utime(root / name, (_TESTIMAGE_DATE, _TESTIMAGE_DATE))
    (root / "bin/busybox-extras").hardlink_to(root / "bin/busybox")
    (root / "etc/mtab").symlink_to("/proc/mounts")
    source = Path(__file__).with_name("printenv.c")  # Debian's busybox has no such applet
    subprocess.run(["gcc", "-static", "-o", str(root / "bin/printenv"), str(source)], check=True)


def debian(archive: Path) -> None:
    """Write the archive of a root with Debian's essential packages; without their documents."""
    if archive.exists():
        return
    written = archive.with_name(f"partial-{archive.name}")
    left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _WITHOUT]
    command = ["mmdebstrap", "--quiet", "--variant=essential", *left_out, "bookworm", str(written)]
    subprocess.run(command, check=True)
    written.rename(archive)
