"""Netlink sockets: messages sent, answers read. For what the engine does itself, off a start's path.

Promise: an exchange returns after the kernel has acknowledged everything, or raises what it refused.
"""

from __future__ import annotations

import os

# The C module itself: the package around it imports selectors and enum (1.5 ms).
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

from twinhull.plan.netlink import HEADER
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTE, NETFILTER = 0, 12  # NETLINK_ROUTE, NETLINK_NETFILTER
ERROR, DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
RECEIVE_BYTES = 64 << 10
TIMEOUT_S = 30.0


@contextmanager
def opened(protocol: int) -> Iterator[socket]:
    """Give a bound netlink socket of the current network namespace."""
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
    try:
        sock.settimeout(TIMEOUT_S)
        sock.bind((0, 0))
        yield sock
    finally:
        sock.close()


def exchange(sock: socket, messages: bytes, acks: int) -> None:
    """Send messages and wait for so many acknowledgements.

    Raises:
        OSError: the first refusal, with its errno.
    """
    sock.send(messages)
    while acks > 0:
        for kind, body in split(sock.recv(RECEIVE_BYTES)):
            if kind == ERROR:
                check(body)
                acks -= 1


def exchange_in(namespace: int, messages: bytes, acks: int) -> None:
    """Exchange rtnetlink messages in another network namespace."""
    from twinhull.host.netns import entered

    with entered(namespace), opened(ROUTE) as sock:
        exchange(sock, messages, acks)


def dump(sock: socket, request: bytes) -> list[bytes]:
    """Send one dump request and return the bodies of its answers.

    Raises:
        OSError: the kernel refused, with its errno.
    """
    sock.send(request)
    bodies: list[bytes] = []
    while True:
        for kind, body in split(sock.recv(RECEIVE_BYTES)):
            if kind == ERROR:
                check(body)
            if kind in (ERROR, DONE):
                return bodies
            bodies.append(body)


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (type, body) of each message in a datagram."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, offset)
        yield kind, data[offset + HEADER.size : offset + length]
        offset += (max(length, HEADER.size) + 3) & ~3


def check(body: bytes) -> None:
    """Raise the error of an NLMSG_ERROR body; zero is an acknowledgement."""
    error = -int.from_bytes(body[:4], "little", signed=True)
    if error:
        raise OSError(error, os.strerror(error))
