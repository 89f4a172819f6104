"""The links of a running workload: made and taken in its namespace, with what depends on them.

Promise: whatever of it is there already, or gone already, is fine.
"""

from __future__ import annotations

import os
from contextlib import suppress

from twinhull import jsontext
from twinhull.engine import connectivity, container_links, guest_links
from twinhull.engine.state import Home
from twinhull.errors import SupervisorLost
from twinhull.host import files, netlink
from twinhull.host.memory import holder
from twinhull.model import Endpoint, Instance, Port
from twinhull.network import bridge, dns, endpoint, etc, ports, resolver
from twinhull.plan import netlink as messages
from twinhull.plan import nftables
from twinhull.plan.ops import NETNS_FD
from twinhull.runtime.container import extend_undo
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Inside(Protocol):
        """What each side of the wall does its own way: a module."""

        def join(self, home: Home, instance: Instance, namespace: int, place: Endpoint) -> None:
            """Give a link what it has inside."""

        def part(self, home: Home, instance: Instance, namespace: int, place: Endpoint) -> None:
            """Take that back."""

        def lead_out(self, home: Home, instance: Instance, namespace: int, place: Endpoint, gateway: str) -> None:
            """Make it the way out."""

        def read(self, home: Home, instance: Instance, name: str) -> str | None:
            """One of the files in /etc, None if it is none of ours any more."""

        def write(self, home: Home, instance: Instance, name: str, text: str) -> None:
            """Replace one."""

    Places = tuple[Endpoint, ...]


@contextmanager
def namespace_of(home: Home, instance: Instance) -> Iterator[int]:
    """Give a descriptor of a running workload's network namespace, which its shim keeps.

    Raises:
        SupervisorLost: it ended meanwhile.
    """
    alive = f"{home.directory(instance.id)}/alive"
    supervisor = holder(alive)
    fd = kept_namespace(supervisor) if supervisor else -1
    if fd < 0:
        raise SupervisorLost(f"{instance.name} ended meanwhile", hint="twinhull ps --all")
    try:
        if holder(alive) != supervisor:  # the number may be another process's by now
            raise SupervisorLost(f"{instance.name} ended meanwhile", hint="twinhull ps --all")
        yield fd
    finally:
        os.close(fd)


def kept_namespace(supervisor: int) -> int:
    """Return a descriptor of the network namespace that a shim holds open, -1 without one."""
    directory = f"/proc/{supervisor}/fd"
    with suppress(FileNotFoundError):
        for name in os.listdir(directory):
            if os.readlink(f"{directory}/{name}").startswith("net:["):
                return os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    return -1


def inside(instance: Instance) -> Inside:
    """How it is done on the side that a workload is on."""
    return guest_links if instance.isolation == "vm" else container_links


def join(home: Home, instance: Instance, namespace: int, before: Places, place: Endpoint) -> None:
    """Make a link for one more place, and let the others there find the container by its names."""
    after = (*before, place)
    hostname = hostname_of(home, instance)
    extend_undo(home.directory(instance.id), dns.undo_ops(home.config, place))
    sent, acks = endpoint.outside_messages(place, hairpin=False)
    with netlink.opened(netlink.ROUTE) as sock:
        netlink.exchange(sock, messages.in_namespace(sent, NETNS_FD, namespace), acks)
    inside(instance).join(home, instance, namespace, place)
    dns.publish(home.config, place, connectivity.names_of(instance, place, hostname))
    settle(home, instance, namespace, before, after)


def part(home: Home, instance: Instance, namespace: int, place: Endpoint) -> Places:
    """Take the link of a place; return the places that are left."""
    left = [other for other in instance.endpoints if other.network != place.network]
    if not any(other.default for other in left):
        way = next((other for other in left if not other.internal), None)
        left = [other._replace(default=other is way) for other in left]
    after = tuple(left)
    dns.withdraw(home.config, place)
    bridge.delete(place.host_link)
    inside(instance).part(home, instance, namespace, place)
    for other in after:
        if other.default and place.default:
            for gateway in filter(None, (other.gateway, other.gateway6)):
                inside(instance).lead_out(home, instance, namespace, other, gateway)
    settle(home, instance, namespace, instance.endpoints, after)
    return after


def settle(home: Home, instance: Instance, namespace: int, before: Places, after: Places) -> None:
    """Bring ports, name server and files below /etc in line with the places that a container has now."""
    move_ports(home, instance.id, instance.ports, endpoint.reaching(before), endpoint.reaching(after))
    move_resolver(home, instance, before, after)
    rewrite_etc(home, instance, before, after)


def move_ports(
    home: Home, identity: str, published: tuple[Port, ...], before: Endpoint | None, after: Endpoint | None
) -> None:
    """Let published ports lead to another place; without one they wait for the next."""
    if not published or before == after:
        return
    table = bridge.table_name(home.config)
    with netlink.opened(netlink.NETFILTER) as sock:
        for element in ports.elements("0.0.0.0", published):  # the key alone counts
            with suppress(FileNotFoundError):
                netlink.exchange(sock, *nftables.delete(table, [element]))
        if after and (wanted := ports.elements(after.address, published)):
            netlink.exchange(sock, *nftables.add(table, wanted, exclusive=False))
    if after:
        with netlink.opened(netlink.ROUTE) as sock:
            netlink.exchange(sock, messages.hairpin(after.host_link), 1)
        home.db.execute("UPDATE port SET network=? WHERE instance=?", (after.network, identity))


def move_resolver(home: Home, instance: Instance, before: Places, after: Places) -> None:
    """Start, end or replace the container's own name server: one on a single network has none."""
    several, table = len(after) > 1, bridge.table_name(home.config)
    with netlink.opened(netlink.NETFILTER) as sock:
        if len(before) > 1 and not (several and etc.asked(before) == etc.asked(after)):
            with suppress(FileNotFoundError):
                netlink.exchange(sock, *nftables.delete(table, [resolver.element(home.config, before)]))
            resolver.withdraw(home.config, before)
        if several:
            extend_undo(home.directory(instance.id), resolver.undo_ops(home.config, after))
            resolver.serve(home.config, after)
            element = resolver.element(home.config, after)
            netlink.exchange(sock, *nftables.add(table, [element], exclusive=False))


def rewrite_etc(home: Home, instance: Instance, before: Places, after: Places) -> None:
    """Change what a workload reads about its network, and what it wrote there itself stays."""
    side, hostname = inside(instance), hostname_of(home, instance)
    found = side.read(home, instance, "hosts")
    if found is not None:
        gone = [address for place in before if place not in after for address in etc.addresses_of(place)]
        new = [address for place in after if place not in before for address in etc.addresses_of(place)]
        kept = [line for line in found.splitlines(keepends=True) if line.split("\t")[0] not in gone]
        side.write(home, instance, "hosts", "".join([*kept, *(f"{address}\t{hostname}\n" for address in new)]))
    was, now = etc.resolv_conf(before), etc.resolv_conf(after)
    if was != now and side.read(home, instance, "resolv.conf") == was:
        side.write(home, instance, "resolv.conf", now)


def hostname_of(home: Home, instance: Instance) -> str:
    """The host name that the container was started with."""
    spec = jsontext.loads(files.read(f"{home.directory(instance.id)}/config.json"))
    return str(spec.get("hostname") or instance.id[:12])
