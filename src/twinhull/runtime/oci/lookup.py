"""Whether a bundle's program is there, asked on the host before a machine boots for it."""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT

from twinhull.errors import CommandNotFound
from twinhull.plan.defaults import PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

MAX_STEPS = 255  # of a path with its links


def require_program(spec: Mapping[str, Any], root: str) -> None:
    """Tell of a program that is not there before the machine boots, as callers expect it of `create`.

    Raises:
        CommandNotFound: it is in no directory of PATH.
    """
    process = spec["process"]
    word, hidden = process["args"][0], [str(row.get("destination")) for row in spec.get("mounts") or ()]
    paths = [word] if "/" in word else [f"{place}/{word}" for place in search_path(process.get("env") or ())]
    paths = [os.path.normpath(os.path.join("/", process["cwd"], path)) for path in paths]
    under = any(os.path.commonpath((place, path)) == os.path.normpath(place) for place in hidden for path in paths)
    if not under and not any(exists_below(root, path) for path in paths):
        raise CommandNotFound("exec", word, ENOENT)


def search_path(environment: Iterable[str]) -> list[str]:
    """The directories of PATH."""
    found = [text.removeprefix("PATH=") for text in environment if text.startswith("PATH=")]
    return [place for place in (found or [PATH])[-1].removeprefix("PATH=").split(":") if place]


def exists_below(root: str, path: str) -> bool:
    """True for a path that leads to something where `root` is the root, through its own links."""
    place, rest = "", path.split("/")
    for _ in range(MAX_STEPS):
        if not rest:
            return True
        word = rest.pop(0)
        if word in ("", "."):
            continue
        if word == "..":
            place = os.path.dirname(place).rstrip("/")
            continue
        try:
            target = os.readlink(f"{root}{place}/{word}")
        except OSError as error:
            if error.errno != EINVAL:  # that is said of anything but a link
                return False
            place = f"{place}/{word}"
            continue
        place = "" if target.startswith("/") else place
        rest = [*target.split("/"), *rest]
    return False
