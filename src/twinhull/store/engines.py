"""Images that other engines on this machine have: Docker's daemon and Podman's storage.

Promise: they are only read. What they and archives have is copied by skopeo into a directory of
ours first: their layers come in another form than their manifests say, which only a copy mends.
"""

from __future__ import annotations

import os
import socket

from twinhull.errors import InvalidRequest
from twinhull.host import spawn
from twinhull.oci.reference import Reference, parse
from twinhull.store import refusals
from twinhull.store.proxy import skopeo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

COPIED = ("docker-daemon", "containers-storage", "docker-archive")
DOCKER_SOCKET = "/var/run/docker.sock"
PODMAN_STORAGE = "/var/lib/containers/storage"
ANSWER_TIMEOUT_S = 2.0


def reachable(reference: Reference, scratch: str) -> str:
    """Return a name under which the image proxy can read the image, copied into `scratch` if need be.

    Raises:
        NotFound, RegistryError: it cannot be copied.
    """
    if reference.transport not in COPIED:
        return reference.source
    where = ["--src-daemon-host", f"unix://{DOCKER_SOCKET}"] if reference.transport == "docker-daemon" else []
    target = f"dir:{scratch}/copy"
    done = spawn.run_tool(skopeo("copy", "--quiet", *where, reference.source, target, scratch=scratch))
    if done.returncode != 0:
        raise refusals.explain(done.stderr.strip(), reference)
    return target


def holding(reference: Reference) -> Iterator[tuple[str, str]]:
    """Give (engine, source) of each engine here that has an image of this name."""
    if os.path.exists(DOCKER_SOCKET) and docker_has(reference.familiar, DOCKER_SOCKET):
        yield "Docker", f"docker-daemon:{reference.familiar}"
    if os.path.isdir(PODMAN_STORAGE):
        for name in (reference.name, f"localhost/{reference.familiar}"):
            source = f"containers-storage:{name}"
            if spawn.run_tool(skopeo("inspect", "--raw", source)).returncode == 0:
                yield "Podman", source


def docker_has(name: str, path: str) -> bool:
    """Ask Docker's daemon whether it has an image; one that does not answer has none."""
    request = f"GET /images/{name}/json HTTP/1.0\r\nHost: docker\r\n\r\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(path)
            connection.sendall(request.encode())
            status = connection.recv(64)
    except OSError:
        return False
    return status.split(b" ")[1:2] == [b"200"]


def plain_names(reference: Reference) -> list[str]:
    """The name in a registry that an image of another engine also has; its id is none."""
    if reference.transport not in ("docker-daemon", "containers-storage"):
        return []
    place = reference.place
    if place.startswith("["):  # containers-storage:[DRIVER@ROOT]NAME
        place = place.partition("]")[2]
    try:
        return [parse(place).name]
    except InvalidRequest:
        return []
