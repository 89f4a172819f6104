"""Platforms as image-spec names them: os/architecture[/variant]. Pure.

Promise: the spellings of uname, Debian and Docker for one machine become one value.
"""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

# uname -m, Debian and older images -> GOARCH, variant (image-spec, image-index.md, "platform")
ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "arm64v8": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "mips64el": ("mips64le", ""),
    "ppc64el": ("ppc64le", ""),
}
# GOARCH of the architectures that Linux runs on
KNOWN = "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x".split()
# What the kernel of an architecture also executes.
ALSO = {"amd64": ("386",), "arm64": ("arm",)}
DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


class Platform(NamedTuple):
    """What an image was built for. `variant` is "" where it is the architecture's usual one."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, self))


def normalise(os: str, architecture: str, variant: str = "") -> Platform:
    """Return the one spelling of a platform."""
    architecture = architecture.lower()
    architecture, implied = ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant.lower() or implied
    if variant.isdecimal():
        variant = f"v{variant}"
    if variant == DEFAULT_VARIANTS.get(architecture):
        variant = ""
    return Platform(os.lower(), architecture, variant)


def named(text: str) -> Platform:
    """The platform of any operating system that a text names; an architecture alone means Linux.

    Raises:
        InvalidRequest: empty parts, or more than three.
    """
    parts = text.split("/")
    if not all(part.replace("-", "").replace("_", "").isalnum() for part in parts) or len(parts) > 3:
        raise InvalidRequest(f"bad platform {text!r}", hint="OS/ARCHITECTURE[/VARIANT], for example linux/arm64")
    return normalise("linux", parts[0]) if len(parts) == 1 else normalise(*parts)


def parse(text: str) -> Platform:
    """Read what --platform says.

    Raises:
        InvalidRequest: empty parts, more than three, or not one that Linux runs on.
    """
    found = named(text)
    if found.os != "linux" or found.architecture not in KNOWN:
        raise InvalidRequest(f"no such platform: {text}", hint=f"linux/ with one of {', '.join(KNOWN)}")
    return found


def runs(wanted: Platform, image: Platform) -> bool:
    """True if an image is for this platform: an older variant of ARM runs on a newer one."""
    if wanted[:2] != image[:2]:
        return False
    if wanted.variant == image.variant:
        return True
    default = DEFAULT_VARIANTS.get(wanted.architecture, "")
    return (image.variant or default) <= (wanted.variant or default)
