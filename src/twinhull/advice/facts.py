"""What an image's config and a run request say of themselves, as the rules want to know it. Pure.

Promise: nothing is asked of the machine; paths are judged as they are given, so whoever asks resolves links first.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.advice.question import Needs, Packed
from twinhull.model import Image, Request
from twinhull.oci.platform import normalise
from twinhull.plan.defaults import CAPABILITIES
from twinhull.plan.seccomp import UNCONFINED
from twinhull.plan.sysctl import namespace_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Whoever can write to one of these can have anything run as root on the host.
ENGINE_SOCKETS = frozenset(
    ("docker.sock", "podman.sock", "containerd.sock", "crio.sock", "buildkitd.sock", "cri-dockerd.sock", "libvirt-sock")
)
# The whole directory is the host's system or somebody's state; a file or directory below may be harmless.
WHOLE = frozenset("/ /bin /etc /home /lib /lib64 /opt /sbin /srv /usr /var /var/lib".split())
# Here everything below is as well.
BELOW = (
    *("/boot", "/dev", "/proc", "/root", "/run", "/sys", "/var/run", "/etc/shadow", "/etc/ssh"),
    *("/var/lib/containerd", "/var/lib/containers", "/var/lib/docker", "/var/lib/twinhull"),
)
HARMLESS = frozenset(("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"))


def needs_of(request: Request, own: Iterable[str] = (), sockets: Iterable[str] = ()) -> Needs:
    """What a request asks of the host.

    Args:
        own: further directories that are doors: those of the engine's own state.
        sockets: those of its paths that were seen to be sockets; an engine's is known by its name.
    """
    sources = [volume.source for volume in request.volumes if volume.kind == "bind"]
    seen = frozenset(sockets)
    sockets = tuple(source for source in sources if source in seen or is_engine(source))
    return Needs(
        sockets=sockets,
        doors=tuple(source for source in sources if source not in sockets and is_door(source, own)),
        volumes=len(sources),
        namespaces=("network",) if request.network == "host" else (),
        privileges=tuple(privileges_of(request)),
        devices=tuple(device.source for device in request.devices),
        sysctls=tuple(key for key, _ in request.sysctls if not is_its_own(key, request)),
        user_namespace=request.user_namespace,
        bridge=any(place.network == "bridge" for place in request.networks),
        of_container=tuple(of_container(request)),
    )


def is_its_own(setting: str, request: Request) -> bool:
    """True for a setting of a namespace that a container has for itself."""
    kind = namespace_of(setting)
    return bool(kind) and (kind != "user" or request.user_namespace)


def of_container(request: Request) -> Iterator[str]:
    """The flags that no guest can have."""
    if request.user_namespace:
        yield "--userns private"
    if request.runtime:
        yield f"--runtime {request.runtime}"


def privileges_of(request: Request) -> Iterator[str]:
    """What it may do beyond every workload."""
    if request.privileged:
        yield "all privileges"
    yield from beyond_default(request.cap_add)
    if request.seccomp == UNCONFINED:
        yield "no filter of system calls"
    if request.unmasked:
        yield "nothing of the kernel's files masked"


def is_engine(path: str) -> bool:
    """True for the name of an engine's control socket."""
    return path.rpartition("/")[2] in ENGINE_SOCKETS


def is_door(path: str, own: Iterable[str] = ()) -> bool:
    """True for a directory that is the host's own system, or holds or belongs to its state."""
    if path in HARMLESS:
        return False
    further = tuple(own)
    holds = any(f"{directory}/".startswith(f"{path.rstrip('/')}/") for directory in further)
    return path in WHOLE or holds or any(f"{path}/".startswith(f"{door}/") for door in (*BELOW, *further))


def beyond_default(names: Iterable[str]) -> tuple[str, ...]:
    """Of these capabilities, with or without their CAP_, those that not every workload has."""
    full = (f"CAP_{name.upper().removeprefix('CAP_')}" for name in names)
    return tuple(name for name in full if name not in CAPABILITIES)


def packed_of(image: Image, request: Request) -> Packed:
    """What an image says of itself, with the user that the request names."""
    config = jsontext.loads(image.config)
    inside = config.get("config") or {}
    system, architecture, *_ = (*image.platform.split("/"), "", "")
    user = str(request.user or inside.get("User") or "").partition(":")[0]
    return Packed(
        known=True,
        system=system or "linux",
        architecture=normalise(system, architecture).architecture,
        root=user in ("", "0", "root"),
        ports=tuple(sorted(inside.get("ExposedPorts") or ())),
        volumes=tuple(sorted(inside.get("Volumes") or ())),
        size_bytes=image.size_bytes,
    )


def unknown_image(platform: str) -> Packed:
    """What is known of an image that is not here: the platform that was asked for."""
    parts = platform.split("/") if platform else []
    if not parts:
        return Packed()
    found = normalise("linux", parts[0]) if len(parts) == 1 else normalise(parts[0], parts[1])
    return Packed(system=found.os, architecture=found.architecture)
