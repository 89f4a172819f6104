"""The images that runc's tests take, as archives, made of Debian's packages."""

from __future__ import annotations

import subprocess
import tempfile
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
    "sys",
    "var/www",
    "var/spool/mail",
)
_WITHOUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/zoneinfo/*")


def busybox(archive: Path) -> None:
    """Write the archive of a root with busybox and its links, as the image of that name has it."""
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
        written = archive.with_suffix(".partial")
        subprocess.run(["tar", "--create", f"--file={written}", f"--directory={root}", "."], check=True)
        written.rename(archive)


def debian(archive: Path) -> None:
    """Write the archive of a root with Debian's essential packages; without their documents."""
    if archive.exists():
        return
    written = archive.with_name(f"partial-{archive.name}")
    left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _WITHOUT]
    command = ["mmdebstrap", "--quiet", "--variant=essential", *left_out, "bookworm", str(written)]
    subprocess.run(command, check=True)
    written.rename(archive)
