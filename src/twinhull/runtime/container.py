"""The container isolation: the plan is performed on this host, behind a shim."""

from __future__ import annotations

import os

from twinhull.errors import HostUnfit, TwinhullError
from twinhull.host import files, locks
from twinhull.host.spawn import DIRECTORY_FD, PLAN_FD, spawn, spawn_shim
from twinhull.plan import codec
from twinhull.plan.frames import Kind
from twinhull.plan.ops import Op, Plan
from twinhull.runtime import sandbox
from twinhull.runtime.sandbox import Sandbox
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.qemu import Architecture

# What builds it where a checkout is.
FOREIGN_HINTS: dict[Architecture, str] = {
    "arm64": "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross, and then make launcher",
    "amd64": "a launcher of x86-64 is built on x86-64",
}


class Prepared(NamedTuple):
    """A workload whose plan is performed and whose process waits for `start`.

    Attributes:
        accelerator: what its QEMU runs under, "" in a container.
    """

    sandbox: Sandbox
    shim_pid: int
    accelerator: str = ""


def prepare(launcher: str, directory: str, plan: Plan, *, flags: tuple[str, ...] = ()) -> Prepared:
    """Spawn the shim of an instance directory and return once its process waits for `start`.

    Raises:
        LaunchError: an op failed; the shim has taken everything back.
    """
    files.write(f"{directory}/undo", codec.encode(plan.undo))
    encoded = codec.encode(plan.host + plan.child)
    conversation, theirs = sandbox.pair()
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pid = spawn_shim(launcher, plan=encoded, client_fd=theirs.fileno(), directory_fd=directory_fd, flags=flags)
    finally:
        theirs.close()
        os.close(directory_fd)
    try:
        conversation.expect(Kind.READY)
    except TwinhullError:
        os.waitpid(pid, 0)
        raise
    return Prepared(conversation, pid)


def extend_undo(directory: str, ops: tuple[Op, ...]) -> None:
    """Put ops before the undo list of a directory whose shim lives: it reads the list at its end."""
    path = f"{directory}/undo"
    so_far = codec.decode(files.read(path))
    files.replace(path, codec.encode((*ops, *so_far)))  # a list that is half written would undo half


def await_supervisor(directory: str) -> None:
    """Return when no shim lives in a directory; one that is gone has none."""
    try:
        with locks.locked(f"{directory}/alive"):
            pass
    except FileNotFoundError:
        pass


def undo(configured: str, directory: str) -> None:
    """Perform the undo list of a directory whose shim was killed; one that ended by itself has removed its own.

    Args:
        configured: as for `launcher_path`.
    """
    path = f"{directory}/undo"
    try:
        plan_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        argv = ["twinhull-undo", "undo"]
        pid = spawn(launcher_path(configured), argv, {PLAN_FD: plan_fd, DIRECTORY_FD: directory_fd})
    finally:
        os.close(plan_fd)
        os.close(directory_fd)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
        files.remove_file(path)


def foreign_launcher(configured: str, architecture: Architecture) -> str:
    """Return the launcher for guests with another processor, which lies beside ours.

    Raises:
        HostUnfit: it was never built.
    """
    path = f"{launcher_path(configured)}-{architecture}"
    if not os.access(path, os.R_OK):
        raise HostUnfit(f"the launcher for guests of {architecture} is not at {path}", hint=FOREIGN_HINTS[architecture])
    return path


def launcher_path(configured: str) -> str:
    """Return the launcher binary: the configured one, or the one beside this package.

    Raises:
        HostUnfit: it was never built.
    """
    path = configured or os.path.join(os.path.dirname(os.path.dirname(__file__)), "bin", "launcher")
    if not os.access(path, os.X_OK):
        raise HostUnfit(f"the launcher is not at {path}", hint="make launcher, or reinstall twinhull")
    return path
