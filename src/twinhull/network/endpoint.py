"""A workload's place on a network, as ops: its namespace, its links, its ports, its names.

Promise: nothing here touches the machine; the launcher performs what these functions return, and
takes it back in the order given. A veth costs the host five messages in two sends.
"""

from __future__ import annotations

from twinhull.config import Config
from twinhull.model import Endpoint, Port
from twinhull.network import dns, ports
from twinhull.network.bridge import table_name
from twinhull.plan import netlink
from twinhull.plan.netlink import GUEST_INDEX, INSIDE_INDEX, LOOPBACK_INDEX, PAIR, TAP_INDEX
from twinhull.plan.ops import NETNS_FD, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Ops = tuple[Op, ...]

IPV6_PREFIX = 64
TAP_FD = 61  # where QEMU finds its first tap, `-netdev tap,fd=61`; the others lie below


def plan_endpoints(
    config: Config, endpoints: Sequence[Endpoint], published: Sequence[Port] = (), *, guest: bool = False
) -> tuple[Ops, Ops]:
    """Return the host ops that connect a workload to its networks, one at least, and the undo ops.

    Ports are held first: one that a process of the host has ends the start before anything is made.
    No op removes a veth: it goes with its namespace, whose last holders are the workload and its
    shim. Asking for it would cost the end of each workload 25 ms (unregister_netdevice waits for RCU).

    Args:
        guest: the workload is a virtual machine: the namespace gets a tap at TAP_FD for each, joined to the
            veth both ways, and no address; the guest has it (`guest_messages`).
    """
    table, reached = table_name(config), reaching(endpoints) or endpoints[0]
    connected = [
        connecting_ops(place, hairpin=bool(published) and place is reached, guest=guest) for place in endpoints
    ]
    shared = resolver_ops(config, endpoints) if len(endpoints) > 1 else ((), ())
    host = (
        *ports.hold_ops(published),
        Op("netns"),
        *[op for ops in connected for op in ops],
        *ports.add_ops(table, reached, published),
        *ports.proxy_ops(reached, published),
        *shared[0],
    )
    withdrawn = [op for place in endpoints for op in dns.undo_ops(config, place)]
    return host, (*ports.delete_ops(table, reached, published), *withdrawn, *shared[1])


def resolver_ops(config: Config, endpoints: Sequence[Endpoint]) -> tuple[Ops, Ops]:
    """Return what lets a workload know the names of several networks, and what takes it back."""
    from twinhull.network import resolver

    return resolver.add_ops(config, endpoints), resolver.undo_ops(config, endpoints)


def reaching(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """Return the place by which published ports are reached: on the first network that leads to others."""
    return next((place for place in endpoints if not place.internal), None)


def connecting_ops(endpoint: Endpoint, *, hairpin: bool, guest: bool) -> Ops:
    """Return the ops that connect a namespace to one network."""
    inside = guest_link_ops(endpoint.number) if guest else (Op("netlink-inside", inside_messages(endpoint)),)
    return (Op("netlink", outside_messages(endpoint, hairpin=hairpin)), *inside)


def outside_messages(endpoint: Endpoint, *, hairpin: bool) -> tuple[bytes, int]:
    """Return what is sent in the host's namespace: the veth, and its host end into the bridge.

    Args:
        hairpin: the workload must reach its own published ports.
    """
    index = INSIDE_INDEX + PAIR * endpoint.number
    messages = netlink.make_veth(
        endpoint.host_link, mac=endpoint.mac, namespace_fd=NETNS_FD, name=link_name(endpoint.number), index=index
    )
    messages += netlink.join_bridge(endpoint.host_link, endpoint.bridge_index, ack=not hairpin)
    if hairpin:
        messages += netlink.hairpin(endpoint.host_link)
    return messages, 1


def link_name(number: int) -> str:
    """Return the name of a link inside."""
    return f"eth{number}"


def inside_messages(endpoint: Endpoint) -> tuple[bytes, int]:
    """Return what is sent in a container's namespace."""
    return netlink.link_up(LOOPBACK_INDEX) + addressing(endpoint, INSIDE_INDEX + PAIR * endpoint.number), 1


def guest_link_ops(number: int = 0) -> Ops:
    """Return the ops that make a tap and join it to the veth: what one receives, the other sends."""
    return Op("tap", (TAP_FD - number, f"tap{number}", TAP_INDEX + PAIR * number)), Op(
        "netlink-inside", guest_cable(number)
    )


def guest_cable(number: int) -> tuple[bytes, int]:
    """Return what is sent in the namespace of a guest to join a tap to its veth."""
    link, tap = INSIDE_INDEX + PAIR * number, TAP_INDEX + PAIR * number
    return netlink.link_up(tap) + netlink.redirect(link, tap) + netlink.redirect(tap, link, ack=True), 1


def guest_messages(endpoint: Endpoint) -> tuple[bytes, int]:
    """Return what is sent in the guest, as messages and acknowledgements: the arguments of `network`.

    A guest restored from a template has the template's hardware address until then.
    """
    loopback = netlink.link_up(LOOPBACK_INDEX)
    named = netlink.set_mac(link_name(endpoint.number), endpoint.mac)
    return loopback + named + addressing(endpoint, GUEST_INDEX + endpoint.number), 1


def addressing(endpoint: Endpoint, index: int) -> bytes:
    """Return the messages that give a link the endpoint's addresses and, where it is the default, the way out."""
    sixth = ipv6_addressing(endpoint, index) if endpoint.address6 else b""
    address = sixth + netlink.add_address(index, endpoint.address, endpoint.prefix, ack=not endpoint.default)
    return address + netlink.add_default_route(index, endpoint.gateway) if endpoint.default else address


def ipv6_addressing(endpoint: Endpoint, index: int) -> bytes:
    """Return the same for IPv6; nothing of it is acknowledged but a refusal."""
    address = netlink.add_address(index, endpoint.address6, IPV6_PREFIX)
    return address + netlink.add_default_route(index, endpoint.gateway6, ack=False) if endpoint.default else address
