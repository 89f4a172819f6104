"""The services of a compose file, each as the words of a `run` and what `run` has no words for. Pure.

Promise: nothing of a service is dropped in silence: what is not carried over is listed with it.
"""

from __future__ import annotations

import posixpath

from twinhull.advice.interpolation import Malformed
from twinhull.advice.lasting import lasting
from twinhull.advice.question import Needs
from twinhull.advice.values import FALSE, mapping, pairs, plain, sequence, text, truth, within, words
from twinhull.model import Volume
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from twinhull.advice.values import Path, Tree

UNTRUSTED = "twinhull.untrusted"
CARRIED = ("bind", "volume")  # kinds of volumes that `run` has
MAX_EXTENDS = 8
# Values that a service overrides as a whole; other lists grow (Compose specification, merge).
WHOLE = ("command", "entrypoint")
TEXTS = {
    "container_name": "name",
    "user": "user",
    "working_dir": "workdir",
    "hostname": "hostname",
    "platform": "platform",
    "stop_signal": "stop-signal",
    "mem_limit": "memory",
    "cpus": "cpus",
    "pids_limit": "pids-limit",
    "memswap_limit": "memory-swap",
    "cpu_shares": "cpu-shares",
    "cpuset": "cpuset-cpus",
    "shm_size": "shm-size",
    "oom_score_adj": "oom-score-adj",
    "domainname": "domainname",
    "mac_address": "mac-address",
}
FLAGS = {
    "tty": "tty",
    "stdin_open": "interactive",
    "read_only": "read-only",
    "privileged": "privileged",
    "init": "init",
}
# Lists, or one entry alone.
LISTS = {
    "cap_add": "cap-add",
    "cap_drop": "cap-drop",
    "security_opt": "security-opt",
    "group_add": "group-add",
    "tmpfs": "tmpfs",
    "dns": "dns",
    "dns_search": "dns-search",
    "dns_opt": "dns-option",
}
LIMITS = {"mem_limit": "memory", "cpus": "cpus", "pids_limit": "pids"}  # the same below deploy.resources.limits
HANDLED = {
    *("build", "command", "deploy", "devices", "entrypoint", "environment", "extends", "gpus", "healthcheck", "image"),
    *("ipc", "labels", "network_mode", "pid", "ports", "profiles", "restart", "scale", "sysctls"),
    *("userns_mode", "volumes", *TEXTS, *FLAGS, *LISTS),
}


class Service(NamedTuple):
    """One service.

    Attributes:
        image: "" where it is only built.
        flags: of `run`, but for those that follow.
        asks: what it asks for that `run` has no flag for.
        untrusted: what the label says, False without one.
        left_out: keys that are not carried over.
        file: that it comes from, "" for the one that was asked about.
    """

    name: str
    image: str
    flags: tuple[str, ...]
    environment: tuple[str, ...]
    volumes: tuple[Volume, ...]
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...]
    asks: Needs
    replicas: int
    untrusted: bool
    profiles: tuple[str, ...]
    left_out: tuple[str, ...]
    file: str = ""


def services(document: Tree, directory: str, load: Callable[[str], Tree], project: str = "") -> tuple[Service, ...]:
    """Every service, in the order of the file.

    Args:
        document: the file with its variables replaced.
        directory: where the file lies; paths are relative to it.
        load: reads another file that a service extends, given its path.
        project: its name stands before those of its volumes.

    Raises:
        Malformed: the document is not what the specification says.
    """
    listed = mapping(document.get("services"), ("services",), "a mapping of services")
    if not listed:
        raise Malformed((), "there are no services in it")
    found = (service_of(name, extended(document, name, directory, load), ("services", name)) for name in listed)
    given = mapping(document.get("volumes") or {}, ("volumes",), "a mapping of volumes")
    return tuple(
        service._replace(volumes=tuple(named(volume, given, project) for volume in service.volumes))
        for service in found
    )


def named(volume: Volume, given: Tree, project: str) -> Volume:
    """A volume by the name that Compose gives it: its own, or that of the project and its key."""
    if volume.kind == "bind" or not volume.source:
        return volume
    said = mapping(given.get(volume.source) or {}, ("volumes", volume.source), "a mapping")
    external = truth(said.get("external", False))
    name = plain(said.get("name", "")) or (volume.source if external else f"{project}_{volume.source}")
    return volume._replace(source=name)


def extended(document: Tree, name: str, directory: str, load: Callable[[str], Tree], depth: int = 0) -> Tree:
    """A service with what it extends below it, its paths absolute."""
    path: Path = ("services", name)
    if depth > MAX_EXTENDS:
        raise Malformed(path, "it extends itself, or too many others")
    listed = mapping(document.get("services"), ("services",), "a mapping of services")
    if name not in listed:
        raise Malformed(("services",), f"there is no service {name!r} to extend")
    own = normalised(mapping(listed[name], path, "a mapping"), directory, path)
    extends = own.pop("extends", None)
    if extends is None:
        return own
    extends = {"service": extends} if isinstance(extends, str) else mapping(extends, (*path, "extends"), "a mapping")
    base = text(extends.get("service"), (*path, "extends", "service"))
    if not (file := extends.get("file")):
        below = extended(document, base, directory, load, depth + 1)
    else:
        place = posixpath.join(directory, text(file, (*path, "extends", "file")))
        try:
            below = extended(load(place), base, posixpath.dirname(place), load, depth + 1)
        except Malformed as error:
            raise error.of(place) from None
    result: Tree = merged(below, own)
    return result


def normalised(service: Tree, directory: str, path: Path) -> Tree:
    """A service whose lists of pairs are mappings, and whose volumes are full and absolute."""
    found = {key: value for key, value in service.items() if value is not None}
    for key in ("environment", "labels", "sysctls"):
        if key in found:
            found[key] = pairs(found[key], (*path, key))
    if "volumes" in found:
        volumes = sequence(found["volumes"], (*path, "volumes"))
        found["volumes"] = [
            volume_of(entry, directory, (*path, "volumes", number)) for number, entry in enumerate(volumes)
        ]
    return found


def merged(below: Any, own: Any) -> Any:
    """What a service says over what it extends."""
    if isinstance(below, dict) and isinstance(own, dict):
        result = dict(below)
        for key, value in own.items():
            result[key] = value if key in WHOLE or key not in below else merged(below[key], value)
        return result
    if isinstance(below, list) and isinstance(own, list):
        targets = [entry["target"] for entry in own if isinstance(entry, dict) and "target" in entry]
        kept = [entry for entry in below if not (isinstance(entry, dict) and entry.get("target") in targets)]
        return [*(entry for entry in kept if entry not in own), *own]
    return own


def service_of(name: str, service: Tree, path: Path) -> Service:
    """One service, its parts looked at."""
    labels = service.get("labels", {})
    entrypoint = service.get("entrypoint")
    volumes = [entry for entry in service.get("volumes", []) if entry["type"] in CARRIED]
    image = text(service.get("image", ""), (*path, "image"))
    if not image and "build" not in service:
        raise Malformed(path, f"the service {name} has neither an image nor a build")
    return Service(
        name=name,
        image=image,
        flags=tuple(flags(service, path)),
        environment=tuple(f"{key}={value}" if value is not None else key for key, value in variables(service)),
        volumes=tuple(Volume(entry["source"], entry["target"], entry["read_only"], entry["type"]) for entry in volumes),
        entrypoint=None if entrypoint is None else words(entrypoint, (*path, "entrypoint")),
        command=words(service.get("command", []), (*path, "command")),
        asks=asks(service, path),
        replicas=replicas(service, path),
        untrusted=plain(labels.get(UNTRUSTED, False)).lower() not in FALSE,
        profiles=tuple(map(plain, sequence(service.get("profiles", []), (*path, "profiles")))),
        left_out=tuple(left_out(service)),
    )


def flags(service: Tree, path: Path) -> Iterator[str]:
    """The flags of `run` that are one word each."""
    limits = within(service, path, "deploy", "resources", "limits")
    given = {**service, **{key: limits[name] for key, name in LIMITS.items() if name in limits}}
    for key, flag in TEXTS.items():
        if key in given:
            yield f"--{flag}={text(given[key], (*path, key))}"
    for key, flag in FLAGS.items():
        if truth(service.get(key, False)):
            yield f"--{flag}"
    for key, flag in LISTS.items():
        value = service.get(key, [])
        listed = [value] if isinstance(value, str) else sequence(value, (*path, key))
        yield from (f"--{flag}={plain(entry)}" for entry in listed)
    yield from lasting(service, path)
    yield from (f"--sysctl={key}={plain(value)}" for key, value in service.get("sysctls", {}).items())
    devices = sequence(service.get("devices", []), (*path, "devices"))
    yield from (f"--device={device_text(entry)}" for entry in devices)
    ports = sequence(service.get("ports", []), (*path, "ports"))
    if (mode := plain(service.get("network_mode", "bridge"))) in ("host", "none"):
        yield f"--network={mode}"
        ports = []  # there is nothing to publish
    yield from (f"--publish={port_of(entry, (*path, 'ports', number))}" for number, entry in enumerate(ports))
    yield from (
        f"--label={key}={'' if value is None else plain(value)}" for key, value in service.get("labels", {}).items()
    )


def asks(service: Tree, path: Path) -> Needs:
    """What `run` has no flag for."""
    reserved = within(service, path, "deploy", "resources", "reservations").get("devices", [])
    return Needs(
        namespaces=tuple(key for key in ("pid", "ipc") if service.get(key) == "host"),
        devices=("a GPU",) if service.get("gpus") or reserved else (),
    )


def left_out(service: Tree) -> Iterator[str]:
    """What the command does not carry over: other keys and kinds of volumes, another service's namespace."""
    yield from sorted(key for key in service if key not in HANDLED and not key.startswith("x-"))
    kinds = {entry["type"] for entry in service.get("volumes", [])} - {*CARRIED}
    yield from (f"volumes of type {kind}" for kind in sorted(kinds))
    mode = plain(service.get("network_mode", ""))
    if mode not in ("", "host", "none", "bridge", "default"):
        yield f"network_mode {mode}"
    if (count := plain(replicas_of(service, ("services",)))) == "0":
        yield "no replicas (advised as for one)"
    elif count != "1":
        yield f"{count} replicas (the command starts one)"


def replicas(service: Tree, path: Path) -> int:
    """How many of it run; 0 counts as one, for the advice is about one that runs, and is listed as left out."""
    value = replicas_of(service, path)
    try:
        count = int(plain(value))
    except ValueError:
        count = -1
    if count < 0:
        raise Malformed((*path, "deploy", "replicas"), f"{plain(value)!r} is no number of replicas")
    return max(1, count)


def replicas_of(service: Tree, path: Path) -> Any:
    """What the file says of replicas."""
    return within(service, path, "deploy").get("replicas", service.get("scale", 1))


def volume_of(entry: Any, directory: str, path: Path) -> Tree:
    """One volume in full; the type is bind, volume (also one without a name) or what it says."""
    if isinstance(entry, dict):
        kind, source = plain(entry.get("type", "volume")), plain(entry.get("source", ""))
        target, readonly = plain(entry.get("target", "")), truth(entry.get("read_only", False))
    else:
        source, colon, rest = text(entry, path).partition(":")
        target, _, options = rest.partition(":")
        source, target = (source, target) if colon else ("", source)
        kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
        readonly = "ro" in options.split(",")
    if not target.startswith("/"):
        raise Malformed(path, f"{entry!r} is no volume: the path inside is not absolute")
    if kind == "bind":
        source = posixpath.normpath(posixpath.join(directory, source))
    return {"type": kind, "source": source, "target": target, "read_only": readonly}


def port_of(entry: Any, path: Path) -> str:
    """One port as -p has it."""
    if not isinstance(entry, dict):
        return text(entry, path)
    inside, published = plain(entry.get("target", "")), plain(entry.get("published", ""))
    address, protocol = plain(entry.get("host_ip", "")), plain(entry.get("protocol", "tcp"))
    if not inside:
        raise Malformed(path, "a port without a target")
    address = f"[{address}]" if ":" in address else address
    offered = f"{published}:" if published or address else ""
    return f"{address}{':' if address else ''}{offered}{inside}/{protocol}"


def variables(service: Tree) -> Iterator[tuple[str, str | None]]:
    """The environment; a name without a value is passed on."""
    for key, value in service.get("environment", {}).items():
        yield key, None if value is None else plain(value)


def device_text(entry: Any) -> str:
    """One device as --device has it."""
    if not isinstance(entry, dict):
        return plain(entry)
    parts = [plain(entry[key]) for key in ("source", "target", "permissions") if entry.get(key)]
    return ":".join(parts)
