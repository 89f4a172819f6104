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
from twinhull.plan.netlink import GUEST_INDEX, INSIDE_INDEX, LOOPBACK_INDEX, TAP_INDEX
from twinhull.plan.ops import NETNS_FD, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Ops = tuple[Op, ...]

TAP_FD = 61  # where QEMU finds its tap: `-netdev tap,fd=61`
TAP_NAME = "tap0"
GUEST_LINK = "eth0"


def plan_endpoint(
    config: Config, endpoint: Endpoint, published: Sequence[Port] = (), *, guest: bool = False
) -> tuple[Ops, Ops]:
    """Return the host ops that connect a workload to its network, and the undo ops.

    Ports are held first: one that a process of the host has ends the start before anything is made.
    No op removes the veth: it goes with its namespace, whose last holders are the workload and its
    shim. Asking for it would cost the end of each workload 25 ms (unregister_netdevice waits for RCU).

    Args:
        guest: the workload is a virtual machine: the namespace gets a tap at TAP_FD, joined to the
            veth both ways, and no address; the guest has it (`guest_messages`).
    """
    table = table_name(config)
    host = (
        *ports.hold_ops(published),
        Op("netns"),
        Op("netlink", outside_messages(endpoint, hairpin=bool(published))),
        *(guest_link_ops() if guest else (Op("netlink-inside", inside_messages(endpoint)),)),
        *ports.add_ops(table, endpoint, published),
        *ports.proxy_ops(endpoint, published),
    )
    return host, (*ports.delete_ops(table, endpoint, published), *dns.undo_ops(config, endpoint))


def outside_messages(endpoint: Endpoint, *, hairpin: bool) -> tuple[bytes, int]:
    """Return what is sent in the host's namespace: the veth, and its host end into the bridge.

    Args:
        hairpin: the workload must reach its own published ports.
    """
    messages = netlink.make_veth(endpoint.host_link, mac=endpoint.mac, namespace_fd=NETNS_FD)
    messages += netlink.join_bridge(endpoint.host_link, endpoint.bridge_index, ack=not hairpin)
    if hairpin:
        messages += netlink.hairpin(endpoint.host_link)
    return messages, 1


def inside_messages(endpoint: Endpoint) -> tuple[bytes, int]:
    """Return what is sent in a container's namespace."""
    return netlink.link_up(LOOPBACK_INDEX) + addressing(endpoint, INSIDE_INDEX), 1


def guest_link_ops() -> Ops:
    """Return the ops that make a tap and join it to the veth: what one receives, the other sends."""
    messages = (
        netlink.link_up(TAP_INDEX)
        + netlink.redirect(INSIDE_INDEX, TAP_INDEX)
        + netlink.redirect(TAP_INDEX, INSIDE_INDEX, ack=True)
    )
    return Op("tap", (TAP_FD, TAP_NAME, TAP_INDEX)), Op("netlink-inside", (messages, 1))


def guest_messages(endpoint: Endpoint, index: int = GUEST_INDEX) -> tuple[bytes, int]:
    """Return what is sent in the guest, as messages and acknowledgements: the arguments of `network`.

    A guest restored from a template has the template's hardware address until then.
    """
    loopback = netlink.link_up(LOOPBACK_INDEX)
    return loopback + netlink.set_mac(GUEST_LINK, endpoint.mac) + addressing(endpoint, index), 1


def addressing(endpoint: Endpoint, index: int) -> bytes:
    """Return the messages that give a link the endpoint's address and the way out."""
    address = netlink.add_address(index, endpoint.address, endpoint.prefix)
    return address + netlink.add_default_route(index, endpoint.gateway)
