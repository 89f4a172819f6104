"""The launcher's faces that the runtime uses, with nothing imported that the short verbs do not need."""

from __future__ import annotations

import os

from twinhull.errors import HostUnfit, LaunchError
from twinhull.host.spawn import DIRECTORY_FD, PLAN_FD, spawn

INIT_CLIENT_FD = 58  # launcher/init.c
FIRST_INHERITED_FD = 3


def launcher() -> str:
    """Return the path of the binary.

    Raises:
        HostUnfit: it was never built.
    """
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.environ.get("TWINHULL_LAUNCHER") or f"{package}/bin/launcher"
    if not os.access(path, os.X_OK):
        raise HostUnfit(f"the launcher is not at {path}", hint="make launcher, or reinstall twinhull")
    return path


def undo(directory: str, *, spare: bool = False) -> None:
    """Perform the undo list of a container's directory; what it removes may be gone already.

    Args:
        spare: all processes of the container have ended; who else is in its cgroups is left there.

    Raises:
        LaunchError: something could not be removed.
    """
    try:
        plan_fd = os.open(f"{directory}/undo", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pid = spawn(
            launcher(),
            ["twinhull-undo", "undo", *(["--spare"] if spare else [])],
            {PLAN_FD: plan_fd, DIRECTORY_FD: directory_fd},
        )
    finally:
        os.close(plan_fd)
        os.close(directory_fd)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise LaunchError("undo", f"{directory}: a cgroup is still in use", 16)
