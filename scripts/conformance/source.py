"""Debian's packages, with a list and a cache of our own: the machine's package tools do not hear of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Literal

_MIRROR = "http://deb.debian.org/debian"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fetch(cache: Path, package: str, release: str) -> tuple[str, Path]:
    """The version of a package in a release of Debian, and its unpacked source below `cache`."""
    options = apt_options(cache, release, "deb-src")
    version = newest(apt(options, "apt-cache", "showsrc", "--only-source", package))
    unpacked = cache / f"{package}_{version.replace(':', '_')}"
    if not unpacked.exists():
        apt(options, "apt-get", "source", "--only-source", "--download-only", "--tar-only", package, folder=cache)
        upstream = version.rpartition("-")[0].rpartition(":")[2]
        unpack(next(cache.glob(f"{package}_{upstream}.orig.tar.*z*")), unpacked)
    return version, unpacked


def fetch_programs(cache: Path, release: str, packages: tuple[str, ...]) -> Path:
    """A directory below `cache` with the files of binary packages of a release of Debian; they are not installed."""
    unpacked = cache / f"{packages[0]}-{release}"
    if not unpacked.exists():
        options = apt_options(cache, release, "deb")
        folder = cache / f"{unpacked.name}.packages"
        folder.mkdir(exist_ok=True)
        apt(options, "apt-get", "download", *packages, folder=folder)
        partial = cache / f"{unpacked.name}.partial"
        for archive in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, partial], check=True)
        partial.rename(unpacked)
    return unpacked


def newest(listed: str) -> str:
    """The version in what `apt-cache showsrc` prints; of those that are only there for their licence none."""
    for paragraph in listed.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z][A-Za-z-]*: ", line))
        if "Version" in fields and fields.get("Extra-Source-Only") != "yes":
            return fields["Version"]
    raise ValueError("no such source package")


def apt_options(cache: Path, release: str, kind: Literal["deb", "deb-src"]) -> list[str]:
    """Options with which apt knows one release's sources, or its programs, and keeps what it learns below `cache`."""
    folder = cache / "apt" / (release if kind == "deb-src" else f"{release}-programs")
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"{kind} [signed-by={_KEYRING}] {_MIRROR} {release} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    if not any(folder.glob("lists/*_*")):
        subprocess.run(["apt-get", *options, "update", "-qq"], check=True)
    return options


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
