"""NOTIFY_SOCKET: what a container says by sd_notify(3), for the service manager of who starts it.

Where `create` has the variable, the container has a directory for a socket of its own and is told of it. Who starts it
listens there, and passes READY on with the number of the container's process.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_DGRAM, socket
from select import POLLIN, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VARIABLE = "NOTIFY_SOCKET"
INSIDE, NAME = "/run/notify", "notify.sock"
MESSAGE_BYTES = 4096


def notified(spec: Mapping[str, Any], directory: str) -> Mapping[str, Any]:
    """The spec with the place of the socket; `directory` is what is kept of the container."""
    process = spec.get("process")
    if not process:
        return spec
    os.mkdir(f"{directory}/notify", 0o755)
    options = ["bind", "nosuid", "noexec", "nodev", "ro"]
    mount = {"destination": INSIDE, "type": "bind", "source": f"{directory}/notify", "options": options}
    environment = [*(process.get("env") or ()), f"{VARIABLE}={INSIDE}/{NAME}"]
    return {**spec, "mounts": [*(spec.get("mounts") or ()), mount], "process": {**process, "env": environment}}


def listen(directory: str) -> socket | None:
    """Return the container's socket; None where it was not created with one."""
    if not os.path.isdir(f"{directory}/notify"):
        return None
    place = os.open(f"{directory}/notify", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    path = f"/proc/self/fd/{place}/{NAME}"  # the whole path may be too long for a socket's address
    try:
        if os.path.lexists(path):
            os.unlink(path)  # of a `start` that was killed
        ours = socket(AF_UNIX, SOCK_DGRAM)
        ours.bind(path)
        os.chmod(path, 0o777)
    finally:
        os.close(place)
    return ours


def pass_on(ours: socket, pid: int) -> None:
    """Wait until the container is ready, or has ended, and tell the caller's service manager of the first."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    waiting = poll()
    waiting.register(ours.fileno(), POLLIN)
    waiting.register(pidfd, POLLIN)
    try:
        while True:
            happened = dict(waiting.poll())
            if ours.fileno() in happened:
                for line in ours.recv(MESSAGE_BYTES).split(b"\n"):
                    if line.startswith(b"READY="):
                        tell(line + b"\nMAINPID=%d" % pid)
                        return
            elif pidfd in happened:
                return
    finally:
        os.close(pidfd)
        ours.close()


def tell(message: bytes) -> None:
    """Send a message to the service manager; "@" begins an abstract name."""
    path = os.environ[VARIABLE]
    manager = socket(AF_UNIX, SOCK_DGRAM)
    try:
        manager.sendto(message, "\0" + path[1:] if path.startswith("@") else path)
    finally:
        manager.close()
