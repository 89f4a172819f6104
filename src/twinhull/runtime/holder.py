"""The holder of a template (`launcher hold`): lends its memory, and keeps guests in waiting.

Promise: what it lends is a sealed memfd, which no guest can change; a guest in waiting goes to one
client and no other. It ends after ten idle minutes unless a pool is wanted, the guests in waiting with it.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, CMSG_LEN, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from struct import pack, unpack

from twinhull.config import Config
from twinhull.host import files, locks, spawn

IDLE_S = 600
SOCKET, PID = "sock", "holder"  # in <run>/templates/<key>
TIMEOUT_S = 20.0
# Requests of launcher/hold.c.
MEMORY, TAKE, KEEP, COUNT, WANT = b"m", b"s", b"k", b"c", b"w"
IMPRINT, KEEP_IMPRINT, FORGET_IMPRINT = b"i", b"I", b"d"
NAME_BYTES, SPARE_FDS, COUNT_BYTES = 64, 3, 3


def directory_of(config: Config, key: str) -> str:
    """Where the holder of a template is found."""
    return f"{config.run}/templates/{key}"


def borrow_memory(config: Config, launcher: str, key: str, path: str, digest: str) -> int | None:
    """Return a descriptor of a template's sealed memory, from its holder or a new one; None: it is damaged.

    Args:
        path: the file that the memory was saved to.
    """
    directory = directory_of(config, key)
    if (connection := connect(directory)) is None:
        files.make_directory(directory)
        with locks.locked(f"{directory}/lock"):
            connection = connect(directory)
            if connection is None:
                start(config, launcher, path, digest, directory)
                connection = connect(directory)
    return receive_memory(connection)


def lent_memory(config: Config, key: str) -> int | None:
    """Return the same from a holder that is there; None without one."""
    return receive_memory(connect(directory_of(config, key)))


def receive_memory(connection: socket | None) -> int | None:
    """Ask for the memory."""
    _, fds = ask(connection, MEMORY) if connection else (b"", ())
    return fds[0] if fds else None


def take_spare(config: Config, key: str) -> tuple[str, tuple[int, ...]] | None:
    """Return the name of the guest in waiting and its descriptors, which are ours alone now; None without one."""
    connection = connect(directory_of(config, key))
    if connection is None:
        return None
    name, fds = ask(connection, TAKE)
    if len(fds) == SPARE_FDS:
        return name.decode(), fds
    for fd in fds:  # we may have no more of them: without the rest the guest ends
        os.close(fd)
    return None


def waiting(config: Config, key: str) -> int:
    """How many guests a holder keeps; none without one."""
    return stock(config, key)[0]


def stock(config: Config, key: str) -> tuple[int, bool]:
    """How many guests a holder keeps, and whether it has an imprint."""
    connection = connect(directory_of(config, key))
    answer = ask(connection, COUNT)[0] if connection else b""
    return (answer[1], bool(answer[2])) if len(answer) == COUNT_BYTES else (0, False)


def lent_imprint(config: Config, key: str) -> tuple[int, int] | None:
    """Return descriptors of a template's memory and of the imprint that goes with it; None without one."""
    connection = connect(directory_of(config, key))
    _, fds = ask(connection, IMPRINT) if connection else (b"", ())
    if len(fds) == 2:
        return fds[0], fds[1]
    for fd in fds:
        os.close(fd)
    return None


def keep_imprint(config: Config, key: str, imprint: int) -> bool:
    """Give an imprint to the holder, which keeps it as long as the memory; False without one."""
    connection = connect(directory_of(config, key))
    return connection is not None and ask(connection, KEEP_IMPRINT, (imprint,))[0] == KEEP_IMPRINT


def forget_imprint(config: Config, key: str) -> None:
    """Have a holder let go of an imprint that does not start."""
    if connection := connect(directory_of(config, key)):
        ask(connection, FORGET_IMPRINT)


def want(config: Config, key: str, count: int) -> None:
    """Have a holder keep so many guests from now on, and let go of those that are more."""
    if connection := connect(directory_of(config, key)):
        ask(connection, WANT + bytes((count,)))


def keep_spare(config: Config, key: str, name: str, fds: tuple[int, ...]) -> bool:
    """Give a guest in waiting to the holder; False if there is none, or it has as many as are wanted."""
    connection = connect(directory_of(config, key))
    return connection is not None and ask(connection, KEEP + name.encode(), fds)[0] == KEEP


def connect(directory: str) -> socket | None:
    """Connect to the holder of a template, None without one."""
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    connection = socket(AF_UNIX, SOCK_STREAM)
    connection.settimeout(TIMEOUT_S)
    try:
        connection.connect(f"/proc/self/fd/{fd}/{SOCKET}")
        return connection
    except OSError:
        connection.close()
        return None
    finally:
        os.close(fd)


def ask(connection: socket, request: bytes, fds: tuple[int, ...] = ()) -> tuple[bytes, tuple[int, ...]]:
    """Send one request and return the answer with its descriptors; nothing of either if the holder closes instead."""
    given = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
    try:
        connection.sendmsg([request], given)
        data, ancillary, _, _ = connection.recvmsg(NAME_BYTES, CMSG_LEN(4 * SPARE_FDS), MSG_CMSG_CLOEXEC)
    except OSError:
        return b"", ()
    finally:
        connection.close()
    for level, kind, content in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            return data, unpack(f"{len(content) // 4}i", content)
    return data, ()


def start(config: Config, launcher: str, path: str, digest: str, directory: str) -> None:
    """Start the process that keeps the memory; it answers on a socket that listens from now on."""
    from twinhull.runtime import pool

    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    memory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    listener = socket(AF_UNIX, SOCK_STREAM)
    try:
        files.remove_file(f"{directory}/{SOCKET}")
        listener.bind(f"/proc/self/fd/{directory_fd}/{SOCKET}")
        listener.listen(64)
        argv = ["twinhull-hold", "hold", digest, str(IDLE_S), str(pool.wanted_of(config, os.path.dirname(path)))]
        pid = spawn.spawn(launcher, argv, {3: memory, 4: listener.fileno(), 5: directory_fd}, outlives=True)
        os.waitpid(pid, 0)
    finally:
        listener.close()
        os.close(memory)
        os.close(directory_fd)


def end(config: Config, key: str) -> bool:
    """End the holder of a template; False if there is none."""
    import signal

    directory = directory_of(config, key)
    try:
        pid = int(files.read(f"{directory}/{PID}") or b"0")
        pidfd = os.pidfd_open(pid) if pid else -1
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    if pidfd < 0:
        return False
    try:
        # The lock is checked after the process was named: whoever held it then is whom we signal.
        if not locks.is_held(f"{directory}/{PID}"):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        files.remove_file(f"{directory}/{SOCKET}")
        return True
    finally:
        os.close(pidfd)


def end_all(config: Config) -> None:
    """End every holder: the next start of each template pays for filling its memory again."""
    for key in keys(config):
        end(config, key)


def keys(config: Config) -> list[str]:
    """The templates that have, or had, a holder since this machine has started."""
    try:
        return os.listdir(f"{config.run}/templates")
    except FileNotFoundError:
        return []
