"""The way out of a user's own network namespace and the way in, without root: slirp4netns, one for all his workloads.

Promise: it ends with the process that keeps the namespaces; a port that it holds is taken back by the undo list of the
workload. It runs in the host's network, with one end of its tap in the user's.
"""

from __future__ import annotations

import os
from errno import EACCES, EADDRINUSE
from fcntl import LOCK_EX, flock

from twinhull import jsontext
from twinhull.config import Config
from twinhull.errors import Conflict, HostUnfit, InvalidRequest
from twinhull.host import files, locks, rootless
from twinhull.host.facts import read
from twinhull.network.programs import find, succeed
from twinhull.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from twinhull.model import Port

PROGRAM, INSTALL = "slirp4netns", "apt-get install -y slirp4netns"
SOCKET = "uplink.sock"  # launcher/unpublish.c
NAME_SERVER = "10.0.2.3"  # slirp4netns(1): asks the host's
EVERYWHERE, OURS = "0.0.0.0", "10.0.2.100"  # slirp4netns(1): where it sends what comes in
LINK = "tap0"
MTU = 65520  # what slirp4netns(1) recommends for throughput
READY_FD, DIRECTORY_FD, LOCK_FD, EXIT_FD, COMPLAINT_FD = 3, 4, 5, 6, 2
FLAGS = ("--configure", f"--mtu={MTU}", "--enable-sandbox", "--enable-seccomp")
# What is sent to our address comes from slirp4netns, or from a workload that has no business there.
# The host's loopback is behind this address: its answers to those who came in by a published port must go there, and
# nothing else. slirp4netns's own --disable-host-loopback loses the answers to datagrams as well.
LOOPBACK = "10.0.2.2"
RULES = f"""
table ip twinhull_uplink {{}}
delete table ip twinhull_uplink
table ip twinhull_uplink {{
  chain arriving {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "{LINK}" ip daddr {OURS} drop
  }}
  chain forwarded {{
    type filter hook forward priority filter; policy accept;
    ip daddr {LOOPBACK} ct state != {{ established, related }} drop
  }}
  chain sent {{
    type filter hook output priority filter; policy accept;
    ip daddr {LOOPBACK} ct state != {{ established, related }} drop
  }}
}}
"""
UNDO_TIMEOUT_MS = 10_000
MAX_ANSWER_BYTES = 4096
UNPRIVILEGED_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def ensure(config: Config) -> bool:
    """Start it, unless it runs; True if it was started, and holds no port yet.

    Raises:
        HostUnfit: it is not installed, or cannot start.
    """
    lock = f"{config.run}/uplink"
    if locks.is_held(lock):
        return False
    with locks.locked(f"{lock}.lock"):
        if locks.is_held(lock):
            return False
        start(config, lock)
        return True


def start(config: Config, lock: str) -> None:
    """Start it and return when the link is there."""
    program = find(PROGRAM)
    if program is None:
        hint = f"{INSTALL}, or --network host, --network none"
        raise HostUnfit(f"a network without root needs {PROGRAM}, which is not installed", hint=hint)
    if not rootless.is_outside_near():
        raise HostUnfit(f"{PROGRAM} has ended, and this process cannot start it", hint="start a workload by hand")
    succeed(["nft", "-f", "-"], RULES)
    files.remove_file(f"{config.run}/{SOCKET}")
    files.write(f"{config.run}/resolv.conf", f"nameserver {NAME_SERVER}\n".encode(), 0o644)
    keeper = files.read(f"{config.run}/keeper").decode()
    ready, theirs = os.pipe()
    opened = [theirs, os.open(config.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        opened.append(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        flock(opened[2], LOCK_EX)
        # The end of a pipe whose other end the keeper has: it is told when the keeper is no more.
        opened.append(os.open(f"/proc/{keeper}/fd/{rootless.END_FD}", os.O_RDONLY | os.O_CLOEXEC))
        opened.append(os.memfd_create(PROGRAM, os.MFD_CLOEXEC))
        descriptors = dict(zip((READY_FD, DIRECTORY_FD, LOCK_FD, EXIT_FD, COMPLAINT_FD), opened, strict=True))
        rootless.outside(lambda: spawn(program, command(keeper), descriptors))
        os.close(opened.pop(0))
        if not os.read(ready, 1):
            raise HostUnfit(f"{PROGRAM}: {complaint(opened[-1])}", hint=hint_for(complaint(opened[-1])))
    finally:
        for fd in (ready, *opened):
            os.close(fd)


def spawn(program: str, argv: Sequence[str], descriptors: dict[int, int]) -> None:
    """Start a program that goes on when we have ended."""
    from twinhull.host import spawn as processes

    processes.spawn(program, argv, descriptors, outlives=True)


def command(keeper: str) -> list[str]:
    """Its command line; the socket's path goes by a descriptor, because 108 bytes end sooner than paths."""
    own = (f"--ready-fd={READY_FD}", f"--exit-fd={EXIT_FD}", f"--api-socket=/proc/self/fd/{DIRECTORY_FD}/{SOCKET}")
    return [PROGRAM, *FLAGS, *own, "--netns-type=path", f"/proc/{keeper}/ns/net", LINK]


def complaint(fd: int) -> str:
    """The first line of what it said."""
    lines = os.pread(fd, MAX_ANSWER_BYTES, 0).decode("utf-8", "replace").splitlines()
    return next((line for line in lines if "enied" in line or "rror" in line or "ailed" in line), "it did not start")


def hint_for(said: str) -> str:
    """What repairs it."""
    return "sudo chmod 0666 /dev/net/tun" if "/dev/net/tun" in said else "twinhull doctor"


def inside(ports: Iterable[Port]) -> tuple[Port, ...]:
    """The ports as the user's own network has them: what comes in comes to one address.

    One of a single address, as the host's loopback, is on that alone, which no workload reaches.
    """
    return tuple([port if port.address == EVERYWHERE else port._replace(address=OURS) for port in ports])


def publish(config: Config, port: Port) -> int:
    """Open a port of the host that leads to the same port of the user's network, and return its number there.

    Raises:
        Conflict: it is in use.
        InvalidRequest: it is no port of this user's.
    """
    if rootless.is_outside_near():
        try:
            rootless.outside(lambda: probe(port))
        except OSError as error:
            raise refusal(port, error) from None
    where = {"proto": port.protocol, "host_addr": port.address, "host_port": port.host_port}
    answer = ask(config, {"execute": "add_hostfwd", "arguments": {**where, "guest_port": port.host_port}})
    if "return" not in answer:
        raise Conflict(f"port {port.host_port}/{port.protocol} of {port.address} cannot be had: {answer.get('error')}")
    return int(answer["return"]["id"])


def probe(port: Port) -> None:
    """Bind the port for a moment; slirp4netns does not say why it could not."""
    from _socket import AF_INET, SO_REUSEADDR, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket

    trial = socket(AF_INET, (SOCK_DGRAM if port.protocol == "udp" else SOCK_STREAM) | SOCK_CLOEXEC)
    try:
        if port.protocol == "tcp":
            trial.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        trial.bind((port.address, port.host_port))
    finally:
        trial.close()


def refusal(port: Port, error: OSError) -> Conflict | InvalidRequest:
    """Why a port cannot be published, in the user's words."""
    if error.errno == EADDRINUSE:
        return Conflict(
            f"port {port.host_port} is in use by a process of the host",
            hint=f"ss -lntup 'sport = {port.host_port}' shows which; or choose another port",
        )
    if error.errno == EACCES:
        first = read(UNPRIVILEGED_PORTS).strip()
        hint = f"a port from {first} on, or sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port.host_port}"
        return InvalidRequest(f"port {port.host_port} is root's", hint=hint)
    return InvalidRequest(f"port {port.host_port} of {port.address} cannot be published: {error.strerror}")


def ask(config: Config, question: dict[str, Any]) -> dict[str, Any]:
    """Send a request to slirp4netns and return its answer (its manual page, API SOCKET).

    Raises:
        HostUnfit: it is gone.
    """
    from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_STREAM, socket

    directory = os.open(config.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        connection.send(jsontext.dumps(question, compact=True).encode())
        connection.shutdown(SHUT_WR)
        answer: dict[str, Any] = jsontext.loads(connection.recv(MAX_ANSWER_BYTES).decode())
    except (OSError, ValueError) as error:
        raise HostUnfit(f"{PROGRAM} does not answer: {error}", hint="try again") from error
    finally:
        connection.close()
        os.close(directory)
    return answer


def undo_op(config: Config, launcher: str, number: int) -> Op:
    """What closes a port again."""
    words = b"".join(f"{word}\0".encode() for word in ("twinhull-unpublish", "unpublish", config.run, number))
    return Op("end-runtime", (0, launcher, words, b"", UNDO_TIMEOUT_MS, ""))
