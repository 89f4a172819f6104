"""A packet's way out and in, tried on this host with its firewalls as they are.

Promise: what is made for the trial, two namespaces and a link of the host, is gone when it is over.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from socket import create_server, socket

from twinhull.config import Config
from twinhull.host import netlink
from twinhull.host.netns import CLONE_NEWNET, call, entered, own_namespace
from twinhull.model import Endpoint, Port
from twinhull.network import bridge, leases, ports
from twinhull.network.endpoint import addressing, inside_messages
from twinhull.plan import netlink as messages
from twinhull.plan import nftables
from twinhull.plan.netlink import INSIDE_INDEX, LOOPBACK_INDEX
from twinhull.scopes import contextmanager
from twinhull.store.db import transaction
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection

BENCHMARK_NET = 198 << 24 | 18 << 16  # 198.18.0.0/15: RFC 2544, routed by nobody
TRIAL_PORT, SERVER_PORT = 7, 9
ANSWER_TIMEOUT_S = 2.5  # longer than a lost SYN takes to be sent again (1 s): a busy host is no firewall
NO_BRIDGE = 0


class Proof(NamedTuple):
    """What a trial showed, "" where it worked."""

    outgoing: str
    published: str


def prove(config: Config, db: Connection) -> Proof:
    """Send a packet from a workload to a world beyond the host, and one to a published port.

    Raises:
        TwinhullError: the network cannot be made at all.
        OSError: the kernel refuses a namespace or a link.
    """
    identity = f"proof-{os.urandom(8).hex()}"
    with ExitStack() as stack:
        if bridge.find(db, "bridge") is None:
            stack.callback(bridge.remove, config, db)
        bridge.ensure(config, db)
        world, uplink, beyond = stack.enter_context(uplinked())
        with transaction(db, durable=False):
            place = leases.allocate(db, "bridge", identity)
            taken = ports.reserve(db, config, identity, [Port(uplink, TRIAL_PORT, SERVER_PORT)], "bridge")
        stack.callback(leases.release, db, identity)
        workload = stack.enter_context(connected(place))
        stack.enter_context(mapped(bridge.table_name(config), ports.elements(place.address, taken)))
        return Proof(
            outgoing=attempt(client=workload, server=world, address=beyond, port=SERVER_PORT, seen_as=uplink),
            published=attempt(client=world, server=workload, address=uplink, port=TRIAL_PORT, seen_as=beyond),
        )


@contextmanager
def uplinked() -> Iterator[tuple[int, str, str]]:
    """Give a namespace beyond a link of the host, the link's address and the namespace's own."""
    base = BENCHMARK_NET + (int.from_bytes(os.urandom(2), "big") << 2)
    uplink, beyond = leases.dotted(base + 1), leases.dotted(base + 2)
    name = f"twp{os.urandom(4).hex()}"
    there = Endpoint("", "", 0, beyond, 30, uplink, leases.mac_of(base + 2), name)
    with namespace() as world:
        with netlink.opened(netlink.ROUTE) as sock:
            veth = messages.make_veth(name, mac=there.mac, namespace_fd=world)
            netlink.exchange(sock, veth + messages.join_bridge(name, NO_BRIDGE), 1)
            netlink.exchange(sock, messages.add_address(bridge.index_of(name), uplink, 30, ack=True), 1)
        try:
            with entered(world), netlink.opened(netlink.ROUTE) as sock:
                netlink.exchange(sock, messages.link_up(LOOPBACK_INDEX) + addressing(there, INSIDE_INDEX), 1)
            yield world, uplink, beyond
        finally:
            bridge.delete(name)


@contextmanager
def connected(place: Endpoint) -> Iterator[int]:
    """Give a namespace at this place of a network."""
    with namespace() as fd:
        with netlink.opened(netlink.ROUTE) as sock:
            veth = messages.make_veth(place.host_link, mac=place.mac, namespace_fd=fd)
            netlink.exchange(sock, veth + messages.join_bridge(place.host_link, place.bridge_index), 1)
        try:
            with entered(fd), netlink.opened(netlink.ROUTE) as sock:
                netlink.exchange(sock, *inside_messages(place))
            yield fd
        finally:
            bridge.delete(place.host_link)


@contextmanager
def mapped(table: str, elements: list[nftables.Element]) -> Iterator[None]:
    """Have elements in the maps of our table."""
    with netlink.opened(netlink.NETFILTER) as sock:
        netlink.exchange(sock, *nftables.add(table, elements))
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                netlink.exchange(sock, *nftables.delete(table, elements))


def attempt(*, client: int, server: int, address: str, port: int, seen_as: str) -> str:
    """Connect from one namespace to a server in another; return "" or what went wrong."""
    with entered(server), create_server(("0.0.0.0", SERVER_PORT)) as listener:
        listener.settimeout(ANSWER_TIMEOUT_S)
        with entered(client), socket() as sock:
            sock.settimeout(ANSWER_TIMEOUT_S)
            try:
                sock.connect((address, port))
                answered, (peer, _) = listener.accept()
                answered.close()
            except TimeoutError:
                return "no answer: something on this host drops forwarded packets"
            except OSError as error:
                return str(error.strerror)
    return "" if peer == seen_as else f"arrived from {peer}, not from {seen_as}"


@contextmanager
def namespace() -> Iterator[int]:
    """Give the descriptor of a new network namespace, which ends with the block."""
    here = own_namespace()
    try:
        call("unshare", CLONE_NEWNET)
        try:
            made = own_namespace()
        finally:
            call("setns", here, CLONE_NEWNET)
    finally:
        os.close(here)
    try:
        yield made
    finally:
        os.close(made)
