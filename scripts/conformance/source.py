"""Debian's source packages, with a list and a cache of our own: the machine's package tools do not hear of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

_MIRROR = "http://deb.debian.org/debian"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fetch(cache: Path, package: str, release: str) -> tuple[str, Path]:
    """The version of a package in a release of Debian, and its unpacked source below `cache`."""
    options = apt_options(cache, release)
    if not any(cache.glob(f"apt/{release}/lists/*Sources*")):
        subprocess.run(["apt-get", *options, "update", "-qq"], check=True)
    lines = apt(options, "apt-cache", "showsrc", "--only-source", package).splitlines()
    version = next(line.partition(": ")[2] for line in lines if line.startswith("Version: "))
    unpacked = cache / f"{package}_{version.replace(':', '_')}"
    if not unpacked.exists():
        apt(options, "apt-get", "source", "--only-source", "--download-only", "--tar-only", package, folder=cache)
        upstream = version.rpartition("-")[0].rpartition(":")[2]
        unpack(next(cache.glob(f"{package}_{upstream}.orig.tar.*z*")), unpacked)
    return version, unpacked


def apt_options(cache: Path, release: str) -> list[str]:
    """Options with which apt knows the sources of one release, and keeps what it learns below `cache`."""
    folder = cache / "apt" / release
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb-src [signed-by={_KEYRING}] {_MIRROR} {release} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def apt(options: list[str], command: str, *words: str, folder: Path | None = None) -> str:
    """What one of apt's commands printed."""
    done = subprocess.run([command, *options, *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def unpack(archive: Path, target: Path) -> None:
    """The content of the one directory of an archive, as `target`; whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(exist_ok=True)
    options = ["--no-same-owner", "--strip-components=1", f"--directory={partial}"]
    subprocess.run(["tar", "--extract", f"--file={archive}", *options], check=True)
    partial.rename(target)
