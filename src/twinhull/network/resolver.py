"""The name server of one workload that is on several networks: it tells the names of each of them.

A network's own name server tells its own names only, and a workload asks one server. So questions of such a workload
are sent on, by its source address, to a dnsmasq of its own, on an address of the host's loopback; it reads the names
of all the workload's networks where they lie. It ends with the workload, by the undo list.
"""

from __future__ import annotations

import os
from zlib import crc32

from twinhull.config import Config
from twinhull.host import files, locks, netlink
from twinhull.model import Endpoint
from twinhull.network import dns
from twinhull.network.bridge import table_name
from twinhull.network.etc import asked
from twinhull.plan import nftables
from twinhull.plan.netlink import pack_address
from twinhull.plan.nftables import Element
from twinhull.plan.ops import Op
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence
    from sqlite3 import Connection

SET = "resolvers"


def directory_of(config: Config, place: Endpoint) -> str:
    """Return the directory of the name server of the workload at this place; no network's name has a '+'."""
    return f"{dns.base_of(config)}/names/{table_name(config)}/+{place.host_link}"


def loopback_of(config: Config, place: Endpoint) -> str:
    """Return the address that the name server listens on, in 127.128.0.0/9: nothing else of a host is there."""
    number = 0x7F800000 | crc32(f"{table_name(config)} {place.address}".encode()) & 0x7FFFFF
    return ".".join([str(byte) for byte in number.to_bytes(4, "big")])


def element(config: Config, endpoints: Sequence[Endpoint]) -> Element:
    """Return what sends a workload's questions to its own name server."""
    place = asked(endpoints)
    return Element(SET, pack_address(place.address), pack_address(loopback_of(config, place)))


def add_ops(config: Config, endpoints: Sequence[Endpoint]) -> tuple[Op, ...]:
    """Return the op that sends the questions there."""
    return (Op("nftables", nftables.add(table_name(config), [element(config, endpoints)])),)


def undo_ops(config: Config, endpoints: Sequence[Endpoint]) -> tuple[Op, ...]:
    """Return the ops that send no more questions there, and end the name server."""
    place = asked(endpoints)
    gone = Op("nftables-delete", nftables.delete(table_name(config), [element(config, endpoints)]))
    return (gone, *dns.service_undo_ops(directory_of(config, place), place))


def serve(config: Config, endpoints: Sequence[Endpoint]) -> None:
    """Start the name server, or start it anew for other networks; it answers when this returns.

    Raises:
        HostUnfit: dnsmasq is missing or cannot start.
    """
    place = asked(endpoints)
    directory = directory_of(config, place)
    for path in (directory, *[dns.directory_of(config, other.network) for other in endpoints]):
        dns.make_directories(path)
    with locks.locked(f"{directory}/dnsmasq.pid.lock"):
        files.write(f"{directory}/hosts/{place.host_link}", b"", 0o644)
        dns.end(f"{directory}/dnsmasq.pid")
        dns.Starter(place, directory, command(config, endpoints), "workload's name server", dns.PORT).finish()


def command(config: Config, endpoints: Sequence[Endpoint]) -> list[str]:
    """Return dnsmasq's command line: the names of every network of the workload's."""
    place = asked(endpoints)
    names = [f"--hostsdir={dns.directory_of(config, other.network)}/hosts" for other in endpoints]
    return [
        *("dnsmasq", "--conf-file=/dev/null", f"--user={dns.user_of()}"),
        f"--pid-file={directory_of(config, place)}/dnsmasq.pid",
        *("--bind-interfaces", f"--listen-address={loopback_of(config, place)}", "--no-hosts", "--domain-needed"),
        *names,
        "--no-resolv" if all(other.internal for other in endpoints) else f"--resolv-file={dns.upstream(config)}",
        *("--cache-size=1000", "--no-ident"),
    ]


def withdraw(config: Config, endpoints: Sequence[Endpoint]) -> None:
    """End the name server of a workload and remove its directory; none is fine."""
    place = asked(endpoints)
    directory = directory_of(config, place)
    if not os.path.isdir(directory):
        return
    dns.withdraw_from(directory, place)
    files.remove_tree(directory)


def restore(sock: socket, config: Config, db: Connection) -> None:
    """Send the questions of those on several networks to their name servers again, in a table that was just loaded."""
    several = [instance.endpoints for instance in instances.everything(db) if len(instance.endpoints) > 1]
    for endpoints in several:
        batch = nftables.add(table_name(config), [element(config, endpoints)], exclusive=False)
        netlink.exchange(sock, *batch)
