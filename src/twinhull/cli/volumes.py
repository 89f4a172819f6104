"""-v SRC:DST[:OPTIONS]."""

from __future__ import annotations

import os

from twinhull.errors import InvalidRequest
from twinhull.model import Volume

HINT = "write -v /path/on/host:/path/inside, with :ro for read-only"


def parse_volume(text: str) -> Volume:
    """Return one volume; the source must exist, a relative one must start with '.'.

    Raises:
        InvalidRequest: anything else.
    """
    source, colon, rest = text.partition(":")
    target, _, options = rest.partition(":")
    if not colon or not source or not target.startswith("/") or os.path.normpath(target) == "/":
        raise InvalidRequest(f"invalid volume {text!r}", hint=HINT)
    words = set(filter(None, options.split(",")))
    if unknown := words - {"ro", "rw", "z", "Z", "rprivate", "private"}:
        raise InvalidRequest(f"invalid volume {text!r}: unknown option {sorted(unknown)[0]!r}", hint=HINT)
    if not source.startswith(("/", ".")):
        raise InvalidRequest(
            f"invalid volume {text!r}: named volumes are not there yet", hint="write a path that starts with / or ."
        )
    path = os.path.abspath(source)
    if not os.path.exists(path):
        raise InvalidRequest(f"invalid volume {text!r}: {path} does not exist", hint=f"mkdir -p {path}")
    return Volume(path, os.path.normpath(target), "ro" in words)
