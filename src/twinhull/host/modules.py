"""Whether the kernel that runs has a module, as far as it can be told.

Promise: "no" is a fact as well: where nothing on this machine can tell, the answer is that it is not known.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib

from twinhull.host import files
from twinhull.host.facts import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIG = "/proc/config.gz"
LISTS = ("modules.builtin", "modules.dep")
LINE = re.compile(r"^(?:# )?CONFIG_(\w+)(?:=([ym])| is not set)$", re.MULTILINE)


def has(name: str) -> bool | None:
    """True if it is loaded or built in, None if that is not known; underscores and dashes are one."""
    name = plain(name)
    if os.path.isdir(f"/sys/module/{name}"):
        return True
    return judged(name, builtin(os.uname().release), filesystems(read("/proc/filesystems")), configured(config()))


def plain(name: str) -> str:
    """A module's name as the kernel writes it."""
    return name.replace("-", "_")


def judged(
    name: str, listed: frozenset[str] | None, known: Iterable[str], options: dict[str, str] | None
) -> bool | None:
    """The same for one that is not loaded, with what this machine tells of its kernel. Pure.

    An option of the kernel is called as its module is, or as its filesystem; that there is none says nothing.

    Args:
        listed: the modules that are built in, None where nothing lists them.
        known: filesystems.
        options: "y", "m" or "" for every option, None where they cannot be read.
    """
    found = {options[key] for key in (name.upper(), f"{name.upper()}_FS") if key in options} if options else set()
    if name in known or name in (listed or ()) or "y" in found:
        return True
    return False if listed is not None or found else None


def builtin(release: str) -> frozenset[str] | None:
    """The modules that this kernel's own list says are built in; None without the list."""
    text = read(f"/lib/modules/{release}/modules.builtin")
    return named(text) if text else None


def within(root: str) -> frozenset[str]:
    """Every module of the kernels below a root, built in or to be loaded, by depmod's lists."""
    directory = f"{root}/lib/modules"
    releases = os.listdir(directory) if os.path.isdir(directory) else []
    lists = (read(f"{directory}/{release}/{name}") for release in releases for name in LISTS)
    return frozenset().union(*map(named, lists))


def named(text: str) -> frozenset[str]:
    """The modules that a list has, a path a line: kernel/drivers/net/wireguard/wireguard.ko.xz: … Pure."""
    stems = (line.partition(":")[0].rpartition("/")[2].partition(".ko")[0] for line in text.splitlines())
    return frozenset(plain(stem) for stem in stems if stem)


def filesystems(text: str) -> frozenset[str]:
    """The filesystems that /proc/filesystems has: the last word of each line. Pure."""
    return frozenset(line.split()[-1].replace("-", "_") for line in text.splitlines() if line.strip())


def config() -> str:
    """The options that this kernel was built with, as text; "" where it does not show them."""
    try:
        return gzip.decompress(files.read(CONFIG)).decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error):
        return ""


def configured(text: str) -> dict[str, str] | None:
    """Option -> "y", "m" or "" for one that is not set; None where there are none. Pure."""
    return dict(LINE.findall(text)) or None
