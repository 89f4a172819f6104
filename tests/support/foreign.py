"""An image for another processor: Debian's static busybox for 64-bit Arm, kept in .cache between runs."""

from __future__ import annotations

import fcntl
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.images import CACHE
from tests.support.layers import Layout, directory, entry, symlink, tar
from twinhull.runtime import container, hypervisor, package

PACKAGE = "busybox-static"
APPLETS = "cat date echo grep hostname id ls mount nc nproc sh sleep touch uname".split()
DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp")


@pytest.fixture(scope="session")
def arm64_image() -> str:
    """The name of the image."""
    return f"oci:{layout()}:busybox"


def layout() -> Path:
    """The OCI layout with the image, made if it is not in the cache."""
    place = CACHE / "arm64-busybox"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "arm64-busybox.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            work = CACHE / "unfinished-arm64"
            shutil.rmtree(work, ignore_errors=True)
            program = download(work)
            names = (directory(name) for name in DIRECTORIES)
            links = (symlink(f"bin/{name}", "busybox") for name in APPLETS)
            layer = tar([*names, entry("bin/busybox", program, mode=0o755), *links])
            made = Layout(work / "layout")
            config = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
            made.tag(made.manifest([layer], architecture="arm64", config=config), "busybox")
            (work / "layout").rename(place)
            shutil.rmtree(work)
    return place


def download(work: Path) -> bytes:
    """The program, out of the package of the other architecture's own lists."""
    work.mkdir()
    options = package.foreign_lists(str(work), "arm64", lambda _: None)
    package.download(str(work), [PACKAGE], options)
    archive = next(work.glob("*.deb"))
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as members:
        file = members.extractfile("./bin/busybox")
        assert file, "busybox-static has a program"
        return file.read()


def require_guests() -> None:
    """Skip where no guest for 64-bit Arm can start, and say which packages would change that."""
    try:
        hypervisor.installed("arm64")
        container.foreign_launcher("", "arm64")
    except Exception as error:
        pytest.skip(f"{error}; sh scripts/setup arm64 && make launcher")
