"""-v and --mount: paths of the host, volumes and file systems in memory."""

from __future__ import annotations

import os

from twinhull.errors import InvalidRequest
from twinhull.model import Volume

HINT = "write -v /path/on/host:/path/inside or -v name:/path/inside, with :ro for read-only"
MOUNT_HINT = "--mount type=bind,source=/on/host,target=/inside,readonly; or type=volume, type=tmpfs"
OPTIONS = {"ro", "rw", "z", "Z", "rprivate", "private", "nocopy"}
SOURCE, TARGET = ("source", "src"), ("target", "dst", "destination")
SOCKETS = (".sock", "-sock")  # how sockets are named: one that is not there is no directory to be made
READONLY = ("readonly", "ro")


def parse_volume(text: str) -> Volume:
    """Return one -v: a path of the host, which starts with / or '.', a volume's name, or a place inside alone.

    Raises:
        InvalidRequest: anything else.
    """
    source, colon, rest = text.partition(":")
    if not colon:
        return Volume("", place(text, text), kind="volume")
    target, _, options = rest.partition(":")
    words = set(filter(None, options.split(",")))
    if not source:
        raise InvalidRequest(f"invalid volume {text!r}", hint=HINT)
    if unknown := words - OPTIONS:
        raise InvalidRequest(f"invalid volume {text!r}: unknown option {sorted(unknown)[0]!r}", hint=HINT)
    inside = place(target, text)
    if source.startswith(("/", ".")):
        if "nocopy" in words:
            raise InvalidRequest(f"invalid volume {text!r}: nothing is ever copied to a path of the host", hint=HINT)
        return Volume(on_host(source, text), inside, "ro" in words)
    return Volume(volume_name(source), inside, "ro" in words, "volume", nocopy="nocopy" in words)


def parse_mount(text: str) -> Volume | tuple[str, str]:
    """Return one --mount: a volume, or the path and the options of a file system in memory.

    Raises:
        InvalidRequest: anything else.
    """
    given: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        key = next((names[0] for names in (SOURCE, TARGET, READONLY) if key in names), key)
        given[key] = value if equals else "true"
    kind = given.pop("type", "volume")
    target, source = place(given.pop("target", ""), text), given.pop("source", "")
    readonly = truth(given.pop("readonly", "false"), text)
    if kind == "tmpfs":
        return target, tmpfs_options(given, text, readonly=readonly, source=source)
    nocopy = kind == "volume" and truth(given.pop("volume-nocopy", "false"), text)
    if kind == "bind" and given.get("bind-propagation") in ("private", "rprivate"):
        del given["bind-propagation"]
    if given:
        raise InvalidRequest(f"invalid mount {text!r}: unknown key {sorted(given)[0]!r}", hint=MOUNT_HINT)
    if kind == "bind":
        return Volume(on_host(source, text), target, readonly)
    if kind != "volume":
        raise InvalidRequest(f"invalid mount {text!r}: there is no type {kind!r}", hint=MOUNT_HINT)
    return Volume(volume_name(source) if source else "", target, readonly, "volume", nocopy=nocopy)


def tmpfs_options(given: dict[str, str], text: str, *, readonly: bool, source: str) -> str:
    """The options of type=tmpfs as --tmpfs has them."""
    from twinhull.cli.arguments import size_bytes

    words = ["ro"] if readonly else []
    if size := given.pop("tmpfs-size", ""):
        words.append(f"size={size_bytes(size)}")
    if mode := given.pop("tmpfs-mode", ""):
        words.append(f"mode={mode}")
    if given or source:
        unknown = "source" if source else sorted(given)[0]
        raise InvalidRequest(f"invalid mount {text!r}: unknown key {unknown!r} of a tmpfs", hint=MOUNT_HINT)
    return ",".join(words)


def place(target: str, text: str) -> str:
    """A place inside: an absolute path that is not the root."""
    if not target.startswith("/") or os.path.normpath(target).strip("/") == "":
        raise InvalidRequest(f"invalid volume {text!r}: no absolute path inside, or the root itself", hint=HINT)
    return "/" + os.path.normpath(target).strip("/")


def on_host(source: str, text: str) -> str:
    """A path of the host that is there."""
    path = os.path.abspath(source) if source else ""
    if not path or not source.startswith(("/", ".")):
        raise InvalidRequest(f"invalid volume {text!r}: the source is no path of the host", hint=HINT)
    if not os.path.exists(path):
        hint = f"start what listens on {path}" if path.endswith(SOCKETS) else f"mkdir -p {path}"
        raise InvalidRequest(f"invalid volume {text!r}: {path} does not exist", hint=hint)
    return path


def volume_name(name: str) -> str:
    """The name of a volume."""
    from twinhull.engine.volumes import check_name

    return check_name(name)


def truth(value: str, text: str) -> bool:
    """true, false, 1 or 0."""
    if value not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"invalid mount {text!r}: {value!r} is neither true nor false", hint=MOUNT_HINT)
    return value in ("true", "1")
