"""rtnetlink messages as bytes: what a workload's links need, built before anything exists. Pure.

Links inside a workload have indices that we choose, because addresses, routes and filters name a
link by index and a new namespace may already hold links of the kernel's (sit0, tunl0). A veth is
therefore created as the workload's end, in its namespace; the host's end is the peer.

Sources: rtnetlink(7), linux/if_link.h, linux/pkt_cls.h.
"""

from __future__ import annotations

from struct import Struct, pack

REQUEST, ACK, REPLACE, EXCLUSIVE, CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
DUMP = 0x300
NEWLINK, DELLINK, GETLINK, NEWADDR, DELADDR, NEWROUTE, GETROUTE = 16, 17, 18, 20, 21, 24, 26
NEWQDISC, DELQDISC, NEWTFILTER = 36, 37, 44

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER, IFLA_BRPORT_MODE = 1, 4
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_NODAD = 2  # an address of ours is nobody else's: it is there at once
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
TCA_KIND, TCA_OPTIONS, TCA_U32_SEL, TCA_U32_ACT = 1, 2, 5, 7
TCA_ACT_KIND, TCA_ACT_OPTIONS, TCA_MIRRED_PARMS = 1, 2, 2

NESTED = 0x8000
IFF_UP = 1
AF_INET, AF_INET6 = 2, 10
RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 3, 0, 1
TC_H_INGRESS, INGRESS_HANDLE = 0xFFFFFFF1, 0xFFFF0000
ALL_PROTOCOLS = 0x0300  # htons(ETH_P_ALL)
TC_U32_TERMINAL, TC_ACT_STOLEN, EGRESS_REDIRECT = 1, 4, 1

# Beyond what any host counts up to: kernels before 6.13 look for an explicit index in the caller's
# namespace too, and refuse one that is there.
INSIDE_INDEX, TAP_INDEX = 1 << 24, (1 << 24) + 1
PAIR = 2  # a further link and its tap have the next two
LOOPBACK_INDEX = 1
GUEST_INDEX = 2  # the first link of a guest after its loopback

HEADER = Struct("=IHHII")
LINK = Struct("=BxHiII")  # family, type, index, flags, change
ADDRESS = Struct("=BBBBI")  # family, prefix length, flags, scope, index
ROUTE = Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
TRAFFIC = Struct("=BxHiIII")  # family, index, handle, parent, info


def message(kind: int, flags: int, body: bytes) -> bytes:
    """Return one netlink message; the sequence number 1 is enough where answers are only counted."""
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, 1, 0) + body


def attribute(kind: int, data: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute made of attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return a NUL-terminated text attribute."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Return a u32 attribute."""
    return attribute(kind, pack("=I", value))


def pack_address(address: str) -> bytes:
    """Return "10.0.0.1" as four bytes, "fd00::1" as sixteen.

    Raises:
        ValueError: it is neither.
    """
    if ":" in address:
        from ipaddress import IPv6Address

        return IPv6Address(address).packed
    return bytes([int(part) for part in address.split(".")])


def pack_mac(mac: str) -> bytes:
    """Return "02:00:00:00:00:01" as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def make_veth(host_link: str, *, mac: str, namespace_fd: int, name: str = "eth0", index: int = INSIDE_INDEX) -> bytes:
    """Make a veth whose end `name` lies in another namespace, up, and whose peer lies in the sender's.

    The peer stays down: a peer cannot be brought up by the message that makes it (ENOTCONN).
    """
    peer = LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, host_link)
    kind = nested(
        IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth"), nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer))
    )
    body = (
        LINK.pack(0, 0, index, IFF_UP, IFF_UP)
        + text(IFLA_IFNAME, name)
        + attribute(IFLA_ADDRESS, pack_mac(mac))
        + number(IFLA_NET_NS_FD, namespace_fd)
        + kind
    )
    return message(NEWLINK, CREATE | EXCLUSIVE, body)


def in_namespace(messages: bytes, number_before: int, fd: int) -> bytes:
    """Return messages that name a network namespace by another descriptor."""
    return messages.replace(number(IFLA_NET_NS_FD, number_before), number(IFLA_NET_NS_FD, fd))


def make_bridge(name: str, *, mac: str) -> bytes:
    """Make a bridge, up. Its MAC is given, or it would change with the ports and with udev's policy."""
    kind = nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge"))
    attributes = text(IFLA_IFNAME, name) + attribute(IFLA_ADDRESS, pack_mac(mac)) + kind
    return message(NEWLINK, CREATE | EXCLUSIVE | ACK, LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + attributes)


def join_bridge(name: str, bridge_index: int, *, ack: bool = True) -> bytes:
    """Make a link a port of a bridge, and bring it up."""
    body = LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + text(IFLA_IFNAME, name) + number(IFLA_MASTER, bridge_index)
    return message(NEWLINK, ACK if ack else 0, body)


def hairpin(name: str, *, ack: bool = True) -> bytes:
    """Let a bridge send a frame back out of the port it came in by.

    With br_netfilter, DNAT of a workload's packet to itself happens inside the bridge.
    """
    port = nested(IFLA_INFO_SLAVE_DATA, attribute(IFLA_BRPORT_MODE, b"\1"))
    kind = nested(IFLA_LINKINFO, attribute(IFLA_INFO_SLAVE_KIND, b"bridge"), port)
    return message(NEWLINK, ACK if ack else 0, LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + kind)


def link_up(index: int, *, ack: bool = False) -> bytes:
    """Bring a link up, by index."""
    return message(NEWLINK, ACK if ack else 0, LINK.pack(0, 0, index, IFF_UP, IFF_UP))


def link_down(index: int, *, ack: bool = False) -> bytes:
    """Take a link down, by index."""
    return message(NEWLINK, ACK if ack else 0, LINK.pack(0, 0, index, 0, IFF_UP))


def set_mac(name: str, mac: str, *, up: bool = True) -> bytes:
    """Give a link, by name, its hardware address, and bring it up."""
    flag = IFF_UP if up else 0
    body = LINK.pack(0, 0, 0, flag, flag) + text(IFLA_IFNAME, name) + attribute(IFLA_ADDRESS, pack_mac(mac))
    return message(NEWLINK, 0, body)


def add_address(index: int, address: str, prefix: int, *, ack: bool = False) -> bytes:
    """Give a link an address; one that it has already is an error (EEXIST)."""
    return message(NEWADDR, CREATE | EXCLUSIVE | (ACK if ack else 0), address_body(index, address, prefix))


def remove_address(index: int, address: str, prefix: int) -> bytes:
    """Take an address from a link; with the last one go the link's routes."""
    return message(DELADDR, ACK, address_body(index, address, prefix))


def address_body(index: int, address: str, prefix: int) -> bytes:
    """Return what a message about an address says."""
    packed = pack_address(address)
    family, flags = (AF_INET, 0) if len(packed) == 4 else (AF_INET6, IFA_F_NODAD)
    return ADDRESS.pack(family, prefix, flags, 0, index) + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)


def add_default_route(index: int, gateway: str, *, ack: bool = True) -> bytes:
    """Send what is for no neighbour to `gateway`, through the link `index`.

    IPv6's stays when the address goes that it was made with, so it takes the place of another.
    """
    packed = pack_address(gateway)
    family = AF_INET if len(packed) == 4 else AF_INET6
    route = ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    body = route + attribute(RTA_GATEWAY, packed) + number(RTA_OIF, index)
    replace = REPLACE if family == AF_INET6 else 0
    return message(NEWROUTE, CREATE | replace | (ACK if ack else 0), body)


def delete_link(name: str) -> bytes:
    """Remove a link by name; a veth's other end goes with it."""
    return message(DELLINK, ACK, LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name))


def redirect(source: int, target: int, *, ack: bool = False) -> bytes:
    """Send everything that arrives at link `source` out of link `target`: an ingress qdisc and one filter.

    u32 with an empty match, because matchall is missing in small kernels.
    """
    qdisc = TRAFFIC.pack(0, 0, source, INGRESS_HANDLE, TC_H_INGRESS, 0) + text(TCA_KIND, "ingress")
    selector = pack("=BBBxHHhhI", TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + pack("=IIii", 0, 0, 0, 0)
    mirred = pack("=IIiiiiI", 0, 0, TC_ACT_STOLEN, 0, 0, EGRESS_REDIRECT, target)
    action = nested(1, text(TCA_ACT_KIND, "mirred"), nested(TCA_ACT_OPTIONS, attribute(TCA_MIRRED_PARMS, mirred)))
    options = nested(TCA_OPTIONS, attribute(TCA_U32_SEL, selector), nested(TCA_U32_ACT, action))
    info = 1 << 16 | ALL_PROTOCOLS  # priority 1
    filter_ = TRAFFIC.pack(0, 0, source, 0, INGRESS_HANDLE, info) + text(TCA_KIND, "u32") + options
    return message(NEWQDISC, CREATE | EXCLUSIVE, qdisc) + message(
        NEWTFILTER, CREATE | EXCLUSIVE | (ACK if ack else 0), filter_
    )


def remove_redirect(source: int) -> bytes:
    """Take that back: the qdisc, and the filter with it."""
    qdisc = TRAFFIC.pack(0, 0, source, INGRESS_HANDLE, TC_H_INGRESS, 0) + text(TCA_KIND, "ingress")
    return message(DELQDISC, ACK, qdisc)


def dump_routes() -> bytes:
    """Ask for every IPv4 route."""
    return message(GETROUTE, DUMP, ROUTE.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))


def attributes_of(body: bytes) -> dict[int, bytes]:
    """Return the attributes of a message's body, by type without the nesting flag.

    Raises:
        ValueError: a length that leaves the body.
    """
    found, offset = {}, 0
    while offset + 4 <= len(body):
        length, kind = int.from_bytes(body[offset : offset + 2], "little"), body[offset + 2 : offset + 4]
        if length < 4 or offset + length > len(body):
            raise ValueError("damaged netlink attribute")
        found[int.from_bytes(kind, "little") & 0x3FFF] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def route_of(body: bytes) -> tuple[int, str, int] | None:
    """Return (prefix length, network, table) of a RTM_NEWROUTE body; None for the default route."""
    family, prefix, _, _, table, *_ = ROUTE.unpack_from(body)
    destination = attributes_of(body[ROUTE.size :]).get(RTA_DST)
    if family != AF_INET or destination is None:
        return None
    return prefix, ".".join(map(str, destination)), table
