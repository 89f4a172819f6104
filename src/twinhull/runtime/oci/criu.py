"""CRIU, which writes processes to files and makes them again: started as `criu swrk`, asked over a socket.

Promise: whoever of the two dies, the other notices at the next word; CRIU then takes back what it did.
"""

from __future__ import annotations

import os
import shutil
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair

from twinhull.errors import HostUnfit, TwinhullError
from twinhull.host import files
from twinhull.host.spawn import run_tool, search_path
from twinhull.plan import criu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ANSWER_BYTES = 40_960
DESCRIPTOR_BYTES = 4
LOG_LEVEL = 4
HARMLESS = ("RLIMIT_NOFILE", "tun: Unable to create tun")  # looked for by CRIU, and done without
CONFIG_ANNOTATION, CONFIG = "org.criu.config", "/etc/criu/twinhull-oci.conf"  # settings in a file have the last word


class CriuFailed(TwinhullError):
    """CRIU refused, or could not do it; what it had begun is taken back."""

    code = "criu_failed"


def find(name: str) -> str:
    """Return the path of the command.

    Raises:
        HostUnfit: it is not there, or it is not root who calls.
    """
    if os.geteuid() != 0:
        raise HostUnfit("checkpoint and restore take root: CRIU reads and makes processes of anybody's")
    found = shutil.which(name, path=search_path(os.environ.get("PATH", "")))
    if not found:
        raise HostUnfit(f"{name} is not there: apt-get install criu iproute2 iptables")
    return found


def channel() -> tuple[socket, int]:
    """Our end, and the one that `criu swrk` gets."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    return ours, theirs.detach()


def converse(connection: socket, request: bytes, on_notify: Callable[[criu.Answer, int], None]) -> criu.Answer:
    """Ask for one thing, and return the answer.

    Args:
        on_notify: called with each NOTIFY and the descriptor that came along, or -1; CRIU waits meanwhile.

    Raises:
        CriuFailed: it did not succeed.
    """
    connection.sendall(request)
    while True:
        content, ancillary, _, _ = connection.recvmsg(MAX_ANSWER_BYTES, CMSG_SPACE(DESCRIPTOR_BYTES))
        if not content:
            raise CriuFailed("it ended without an answer")
        fd = -1
        for level, kind, data in ancillary:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                fd = int.from_bytes(data[:DESCRIPTOR_BYTES], "little")
        try:
            said = criu.answer(content)
        except ValueError as error:
            raise CriuFailed(str(error)) from None
        if not said.success:
            raise CriuFailed("it failed")
        if said.kind != criu.NOTIFY:
            return said
        on_notify(said, fd)
        connection.sendall(criu.consent())


def explained(error: CriuFailed, path: str, verb: str, log: str) -> TwinhullError:
    """The error with the reason that is in the log; without a log, with what `criu check` finds on this machine."""
    lines = files.read(log).decode("utf-8", "replace").splitlines() if os.path.exists(log) else []
    reasons = [
        line.partition(": ")[2] for line in lines if "Error (" in line and not any(one in line for one in HARMLESS)
    ]
    if lines:
        said = f": {reasons[0]}" if reasons else ""
        return CriuFailed(f"{verb}: CRIU: {error.message}{said} ({log} has more)")
    checked = run_tool([path, "check"])
    reasons = [line.partition(": ")[2] for line in checked.stderr.splitlines() if "Error (" in line]
    if checked.returncode and reasons:
        return HostUnfit(f"{verb}: {path} does not work on this kernel: {reasons[0]}")
    return CriuFailed(f"{verb}: CRIU: {error.message}")


def open_directory(path: str) -> int:
    """Return a descriptor of a directory, made if it is missing."""
    try:
        os.makedirs(path, 0o700)
    except FileExistsError:
        pass
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
