"""Real images of several layers, made from Debian packages and kept in .cache between runs.

`layout("python")` gives an OCI layout with the image tagged "python"; the first call of all takes a
minute for each image. The first layer is a minimal Debian, the second what the packages changed.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.layers import OCI, Layout, digest

CACHE = Path(__file__).parents[2] / ".cache/images"
VERSION = 2  # of what this file makes; another number makes all images anew
LEFT_OUT = ("man", "doc", "locale", "info")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Recipe(NamedTuple):
    """Debian packages and the image's config."""

    packages: tuple[str, ...]
    config: dict[str, Any]


RECIPES = {
    "debian": Recipe((), {"Cmd": ["bash"]}),
    "python": Recipe(("python3", "uidmap", "slirp4netns", "libseccomp2"), {"Cmd": ["python3"]}),
    "nginx": Recipe(
        ("nginx-light",),
        {"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"},
    ),
    "redis": Recipe(
        ("redis-server",),
        {
            "Cmd": ["redis-server", "--protected-mode", "no"],
            "ExposedPorts": {"6379/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/data",
        },
    ),
}


def layout(name: str) -> Path:
    """The OCI layout of an image, made if it is not in the cache."""
    place = CACHE / f"{VERSION}-{name}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            unfinished = CACHE / f"unfinished-{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            build(Layout(unfinished), name)
            unfinished.rename(place)
    return place


def build(target: Layout, name: str) -> None:
    """Make one image."""
    recipe = RECIPES[name]
    base = debian(())
    tars = [base, difference(base, debian(recipe.packages))] if recipe.packages else [base]
    packed = [gzip.compress(one, 1, mtime=0) for one in tars]
    layers = [target.blob(one, f"{OCI}layer.v1.tar+gzip") for one in packed]
    config = {"Env": [PATH], **recipe.config}
    architecture = ARCHITECTURES[platform.machine()]
    image = target.manifest_of(layers, [digest(one) for one in tars], config=config, architecture=architecture)
    target.tag(image, name)


def debian(packages: tuple[str, ...]) -> bytes:
    """A minimal Debian with these packages, as a tar; from the cache if it was made before."""
    name = hashlib.sha256(json.dumps(packages).encode()).hexdigest()[:12]
    kept = CACHE / f"{VERSION}-root-{name}.tar"
    if not kept.exists():
        unfinished = CACHE / f"unfinished-{name}.tar"
        words = ["mmdebstrap", "--quiet", "--variant=minbase"]
        words += ["--dpkgopt=force-unsafe-io"]
        words += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in LEFT_OUT]
        words += [f"--include={','.join(packages)}"] if packages else []
        words += ["--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/apt/*"]
        subprocess.run([*words, codename(), str(unfinished), *sources()], check=True, stdin=subprocess.DEVNULL)
        kept.write_bytes(without_devices(unfinished))
        unfinished.unlink()
    return kept.read_bytes()


def codename() -> str:
    """The release of this machine: its packages are the ones within reach."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line)["VERSION_CODENAME"]


def sources() -> list[str]:
    """The distribution's own entry among this machine's package sources."""
    candidates = [Path(f"/etc/apt/sources.list.d/{name}.sources") for name in ("debian", "ubuntu")]
    candidates.append(Path("/etc/apt/sources.list"))
    return [str(path) for path in candidates if path.exists() and path.read_text().strip()][:1]


def without_devices(path: Path) -> bytes:
    """Copy a tar without what an image does not have."""
    target = io.BytesIO()
    with tarfile.open(path) as source, tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info in source:
            if not info.name.startswith("./dev/"):
                archive.addfile(info, source.extractfile(info) if info.isreg() else None)
    return target.getvalue()


def difference(base: bytes, full: bytes) -> bytes:
    """A layer that makes `full` of `base`: what is new or changed, and whiteouts of what is gone."""
    target = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(base)) as before,
        tarfile.open(fileobj=io.BytesIO(full)) as after,
        tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        old, new = described(before), described(after)
        changed = {name for name, what in new.items() if old.get(name) != what}
        changed |= {info.linkname for info in after if info.islnk() and info.name in changed}
        for info in after:
            if info.name in changed:
                archive.addfile(info, after.extractfile(info) if info.isreg() else None)
        for name in whiteouts(old, new):
            archive.addfile(tarfile.TarInfo(name))
    return target.getvalue()


def described(archive: tarfile.TarFile) -> dict[str, tuple[Any, ...]]:
    """What tells one version of an entry from another; a directory's time does not."""
    return {
        info.name: (info.type, info.mode, info.uid, info.gid, info.size, info.linkname, content_hash(archive, info))
        for info in archive
    }


def content_hash(archive: tarfile.TarFile, info: tarfile.TarInfo) -> str:
    """The hash of a file's content, "" for all others."""
    file = archive.extractfile(info) if info.isreg() else None
    return hashlib.sha256(file.read()).hexdigest() if file else ""


def whiteouts(old: dict[str, tuple[Any, ...]], new: dict[str, tuple[Any, ...]]) -> Iterator[str]:
    """Give a whiteout for each name that is gone while its directory is still there."""
    for name in old:
        parent, _, last = name.rpartition("/")
        if name not in new and parent in new:
            yield f"{parent}/.wh.{last}"


@pytest.fixture(scope="session")
def python_layout() -> Path:
    """A layout with the image python, in two layers: a Debian; Python 3 and what a user without root needs."""
    return layout("python")


@pytest.fixture(scope="session")
def nginx_layout() -> Path:
    """A layout with the image nginx."""
    return layout("nginx")


@pytest.fixture(scope="session")
def redis_layout() -> Path:
    """A layout with the image redis."""
    return layout("redis")
