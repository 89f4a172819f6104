"""The links of a network namespace, as rtnetlink tells them, and what gives them to a guest. Pure.

A card of the guest gets the address of hardware, the addresses and the routes of a link; on the host a tap is joined to
the link both ways, so the link itself hears nothing any more.
"""

from __future__ import annotations

from struct import Struct

from twinhull.errors import UnsupportedSpec
from twinhull.plan import netlink
from twinhull.plan.netlink import GUEST_INDEX, LOOPBACK_INDEX, PAIR, TAP_INDEX
from twinhull.plan.ops import Op
from twinhull.plan.qemu import MAX_NICS, TAP_FD
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

GETADDR = 22
IFLA_MTU = 4
RT_TABLE_LOCAL = 255
RTM_F_CLONED = 0x200
IFA_FLAGS, IFA_F_NOPREFIXROUTE = 8, 0x200
RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH = 6, 7, 9
ROUTE_PARTS = (netlink.RTA_DST, netlink.RTA_OIF, netlink.RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC)
LINK_LOCAL = bytes.fromhex("fe80")
DELQDISC = 37
GENERAL = Struct("=B15x")  # a dump's request: the family, and the rest of the longest header of the three
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
LINK_TYPE = Struct("=BxHiII")
SCOPE_LINK = 253


class Link(NamedTuple):
    """One link: `mac` and `mtu` as rtnetlink has them."""

    number: int
    name: str
    mac: bytes
    mtu: int


class Interfaces(NamedTuple):
    """What a namespace has beside its loopback: links, bodies of RTM_NEWADDR, and of RTM_NEWROUTE."""

    links: tuple[Link, ...] = ()
    addresses: tuple[bytes, ...] = ()
    routes: tuple[bytes, ...] = ()


def dumps() -> tuple[bytes, bytes, bytes]:
    """Return the requests for all links, addresses and routes."""
    kinds = (netlink.GETLINK, GETADDR, netlink.GETROUTE)
    links, addresses, routes = (netlink.message(kind, netlink.DUMP, GENERAL.pack(0)) for kind in kinds)
    return links, addresses, routes


def interfaces(links: Iterable[bytes], addresses: Iterable[bytes], routes: Iterable[bytes]) -> Interfaces:
    """Return what the answers to the three dumps say.

    Raises:
        UnsupportedSpec: a link that no card can be, or more than a machine has places for.
    """
    found = tuple([link for body in links if (link := link_of(body))])
    if len(found) > MAX_NICS:
        raise UnsupportedSpec(f"linux.namespaces: {len(found)} links: a virtual machine has {MAX_NICS} cards at most")
    indices = {link.number for link in found}
    mine = tuple([body for body in addresses if netlink.ADDRESS.unpack_from(body)[4] in indices and is_ours(body)])
    return Interfaces(found, mine, tuple([body for body in routes if route_link(body) in indices]))


def link_of(body: bytes) -> Link | None:
    """A link that is up; None for the loopback and for what nobody uses."""
    _, kind, index, flags, _ = LINK_TYPE.unpack_from(body)
    if kind == ARPHRD_LOOPBACK or not flags & netlink.IFF_UP:
        return None
    held = netlink.attributes_of(body[LINK_TYPE.size :])
    name = held[netlink.IFLA_IFNAME].rstrip(b"\0").decode()
    if kind != ARPHRD_ETHER:
        raise UnsupportedSpec(f"linux.namespaces: the link {name} of the network namespace is no Ethernet link")
    return Link(index, name, held[netlink.IFLA_ADDRESS], int.from_bytes(held[IFLA_MTU], "little"))


def is_ours(body: bytes) -> bool:
    """False for an address that the kernel made of a hardware address."""
    family, _, _, scope, _ = netlink.ADDRESS.unpack_from(body)
    return not (family == netlink.AF_INET6 and scope == SCOPE_LINK)


def route_link(body: bytes) -> int:
    """The link of a route; 0 for what every kernel makes for itself.

    Raises:
        UnsupportedSpec: it leads over several links.
    """
    _, _, _, _, table, _, _, kind, flags = netlink.ROUTE.unpack_from(body)
    if table == RT_TABLE_LOCAL or kind != netlink.RTN_UNICAST or flags & RTM_F_CLONED:
        return 0
    held = netlink.attributes_of(body[netlink.ROUTE.size :])
    if RTA_MULTIPATH in held:
        raise UnsupportedSpec("linux.namespaces: a route of the network namespace has several next hops")
    if held.get(netlink.RTA_DST, b"").startswith(LINK_LOCAL) and len(held[netlink.RTA_DST]) == 16:
        return 0
    return int.from_bytes(held.get(netlink.RTA_OIF, b""), "little")


def host_ops(namespace: str, found: Interfaces) -> tuple[Op, ...]:
    """Return the ops that give QEMU a tap for each link of the namespace at this path."""
    ops = [Op("join-namespace", (0x40000000, namespace))]
    for number, link in enumerate(found.links):
        tap = TAP_INDEX + PAIR * number
        messages = netlink.link_up(tap) + mtu(tap, link.mtu)
        messages += netlink.redirect(link.number, tap) + netlink.redirect(tap, link.number, ack=True)
        ops.append(Op("tap", (TAP_FD - number, f"twinhull{number}", tap)))
        ops.append(Op("netlink-inside", (messages, 1)))
    return tuple(ops)


def guest_ops(found: Interfaces) -> tuple[Op, ...]:
    """Return the `network` ops that make the guest's cards what the links are; the machine has one card at least."""
    places = {link.number: GUEST_INDEX + number for number, link in enumerate(found.links)}
    if not places:
        return (
            Op("network", (netlink.link_up(LOOPBACK_INDEX, ack=True) + netlink.link_down(GUEST_INDEX, ack=True), 2)),
        )
    messages = [netlink.link_up(LOOPBACK_INDEX)]
    messages += [card(link, places[link.number]) for link in found.links]
    messages += [address(body, places) for body in found.addresses]
    routes = [route(body, places) for body in sorted(found.routes, key=has_gateway)]  # a gateway must be reached first
    return (Op("network", (b"".join([*messages, *routes, netlink.link_up(LOOPBACK_INDEX, ack=True)]), 1)),)


def has_gateway(body: bytes) -> bool:
    """True for a route by way of somebody."""
    return netlink.RTA_GATEWAY in netlink.attributes_of(body[netlink.ROUTE.size :])


def card(link: Link, index: int) -> bytes:
    """A card under the link's name, with its address, up: both are refused on one that is up already."""
    header = netlink.LINK.pack(0, 0, index, 0, netlink.IFF_UP)
    named = header + netlink.attribute(netlink.IFLA_ADDRESS, link.mac) + netlink.text(netlink.IFLA_IFNAME, link.name)
    down = netlink.link_down(index)
    return down + netlink.message(netlink.NEWLINK, 0, named) + mtu(index, link.mtu) + netlink.link_up(index)


def mtu(index: int, value: int) -> bytes:
    """Set how long a frame may be."""
    body = netlink.LINK.pack(0, 0, index, 0, 0) + netlink.number(IFLA_MTU, value)
    return netlink.message(netlink.NEWLINK, 0, body)


def address(body: bytes, places: dict[int, int]) -> bytes:
    """The same address on the guest's card; what it leads to is said by routes, of which some may have been removed."""
    family, prefix, _, scope, index = netlink.ADDRESS.unpack_from(body)
    held = netlink.attributes_of(body[netlink.ADDRESS.size :])
    flags = IFA_F_NOPREFIXROUTE | (netlink.IFA_F_NODAD if family == netlink.AF_INET6 else 0)
    packed = netlink.ADDRESS.pack(family, prefix, 0, scope, places[index])
    given = held.get(netlink.IFA_ADDRESS, b"")
    packed += netlink.attribute(netlink.IFA_LOCAL, held.get(netlink.IFA_LOCAL, given))
    packed += netlink.attribute(netlink.IFA_ADDRESS, given) + netlink.number(IFA_FLAGS, flags)
    return netlink.message(netlink.NEWADDR, netlink.CREATE | netlink.EXCLUSIVE, packed)


def route(body: bytes, places: dict[int, int]) -> bytes:
    """The same route through the guest's card."""
    held = netlink.attributes_of(body[netlink.ROUTE.size :])
    held[netlink.RTA_OIF] = places[route_link(body)].to_bytes(4, "little")
    parts = b"".join(netlink.attribute(kind, value) for kind, value in held.items() if kind in ROUTE_PARTS)
    return netlink.message(netlink.NEWROUTE, netlink.CREATE, body[: netlink.ROUTE.size] + parts)


def let_go(link: int) -> bytes:
    """Take away what joins a link to a tap."""
    body = netlink.TRAFFIC.pack(0, 0, link, netlink.INGRESS_HANDLE, netlink.TC_H_INGRESS, 0)
    return netlink.message(DELQDISC, netlink.ACK, body)
