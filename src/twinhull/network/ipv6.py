"""IPv6 of networks that were created with it: a subnet of /64, addresses that follow those of IPv4.

Promise: two workloads never have one address. Who chooses none has the IPv4 address in the last 32 bits; who chooses
one keeps out of those.
"""

from __future__ import annotations

import os
from errno import EEXIST
from ipaddress import AddressValueError, IPv6Address, IPv6Network

from twinhull.errors import Conflict, HostUnfit, InvalidRequest
from twinhull.host.facts import read
from twinhull.host.sysctl import write_sysctl
from twinhull.model import Endpoint
from twinhull.network.leases import number_of
from twinhull.plan.netlink import add_address
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from sqlite3 import Connection

    from twinhull.network.bridge import Row

PREFIX = 64
CONF = "/proc/sys/net/ipv6/conf"


def check_subnet(text: str) -> IPv6Network:
    """Return a subnet that a user wrote.

    Raises:
        InvalidRequest: it is none of /64.
    """
    try:
        subnet = IPv6Network(text)
    except ValueError:
        subnet = None
    if subnet is None or subnet.prefixlen != PREFIX or subnet.is_multicast or subnet.is_link_local:
        raise InvalidRequest(f"subnet {text!r} is not an IPv6 network of /{PREFIX}", hint='like "fd12:3456:789a::/64"')
    return subnet


def free_subnet(db: Connection, wanted: str) -> str:
    """Return the wanted subnet, or a random one of those that are nobody's (RFC 4193).

    Raises:
        Conflict: another network of ours has it.
    """
    taken = [row[0] for row in db.execute("SELECT subnet6 FROM network WHERE subnet6<>''")]
    if not wanted:
        return str(IPv6Network((b"\xfd" + os.urandom(5) + bytes(10), PREFIX)))
    subnet = check_subnet(wanted)
    if any(subnet.overlaps(IPv6Network(other)) for other in taken):
        raise Conflict(f"subnet {wanted} is another network's", hint="twinhull network ls")
    return str(subnet)


def gateway_of(subnet6: str) -> str:
    """Return the host's address on a network: the first."""
    return str(IPv6Network(subnet6)[1])


def placed(db: Connection, place: Endpoint, subnet6: str, wanted: str, base: int) -> Endpoint:
    """Return a place with its IPv6 address.

    Args:
        base: the first address of the network's IPv4 subnet.

    Raises:
        InvalidRequest: the network has no IPv6, or the wanted address is not to be had there.
        Conflict: another workload has it.
    """
    if not subnet6:
        raise InvalidRequest(f"network {place.network!r} has no IPv6", hint="twinhull network create --ipv6 NAME")
    subnet = IPv6Network(subnet6)
    address = str(subnet[number_of(place.address)])
    if wanted and wanted != address:  # one that changes sides wants what it has
        address = chosen(db, place, subnet, wanted, base)
    return place._replace(address6=address, gateway6=gateway_of(subnet6))


def chosen(db: Connection, place: Endpoint, subnet: IPv6Network, wanted: str, base: int) -> str:
    """Return the address that a workload wants, if it can have it."""
    try:
        address = IPv6Address(wanted)
    except AddressValueError:
        raise InvalidRequest(f"{wanted!r} is not an IPv6 address", hint=f"one of {subnet}") from None
    offset = int(address) - int(subnet.network_address)
    size = 1 << 32 - place.prefix
    if address not in subnet or offset in (0, 1) or base <= offset < base + size:
        kept = f"{subnet[base]} to {subnet[base + size - 1]}"
        raise InvalidRequest(f"{wanted} cannot be chosen on {subnet}", hint=f"{kept} are for those who choose none")
    for instance in instances.everything(db):
        if any(other.address6 == str(address) for other in instance.endpoints):
            raise Conflict(f"address {wanted} is in use by {instance.name}", hint="choose another address")
    return str(address)


def prepare_host() -> None:
    """Let the host forward IPv6; links that learn their routes from advertisements go on doing so (accept_ra 2).

    Raises:
        HostUnfit: the kernel has no IPv6, or /proc/sys is not ours to write.
    """
    if not os.path.isdir(CONF):
        raise HostUnfit("this host's kernel has no IPv6", hint="leave --ipv6 out")
    if read(f"{CONF}/all/forwarding").strip() == "1":
        return
    for link in sorted(os.listdir(CONF)):
        if link not in ("all", "default", "lo") and read(f"{CONF}/{link}/accept_ra").strip() == "1":
            write_sysctl(f"ipv6/conf/{link}/accept_ra", "2")
    write_sysctl("ipv6/conf/all/forwarding", "1")


def equip(sock: socket, row: Row) -> None:
    """Give a network's bridge its address; it believes no workload's router advertisement (CVE-2020-13401)."""
    from twinhull.network.bridge import ignore, index_of

    prepare_host()
    for key, value in (("accept_ra", "0"), ("autoconf", "0"), ("accept_redirects", "0"), ("disable_ipv6", "0")):
        write_sysctl(f"ipv6/conf/{row.link}/{key}", value)
    ignore(EEXIST, sock, add_address(index_of(row.link), gateway_of(row.subnet6), PREFIX, ack=True))
