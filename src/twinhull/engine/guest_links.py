"""The links of a running virtual machine: a cable for one of its cards, and what its guest is told of it.

`container_links` has the same for a container. No bus of the board takes a card while it runs, so there is one more
than the networks need.

Promise: what is there already, or gone already, is fine.
"""

from __future__ import annotations

from contextlib import suppress
from errno import EADDRNOTAVAIL, EEXIST, EINVAL, ENOENT

from twinhull.engine import copy, tools
from twinhull.engine.bundle import is_covered, is_own
from twinhull.engine.control import require_unpaused
from twinhull.engine.state import Home
from twinhull.errors import Conflict, LaunchError, NotFound
from twinhull.host import facts, netlink, stack
from twinhull.host.memory import holder
from twinhull.model import Endpoint, Instance
from twinhull.network import endpoint, etc
from twinhull.plan import netlink as messages
from twinhull.plan.netlink import GUEST_INDEX, PAIR, TAP_INDEX
from twinhull.plan.ops import Op
from twinhull.plan.qemu import cards_in
from twinhull.runtime.tool import Tool
from twinhull.store import instances

NOTHING = "identity"  # a tool of launcher/tool.c that has nothing left to do when the ops before it are done
ETC_MODE = 0o644
MOUNTED = 0o100000  # launcher/ops_files.c: FILE_MOUNTED


def require(home: Home, instance: Instance, number: int | None = None) -> None:
    """Refuse a guest that cannot be told of a link, or has no card with this number.

    Raises:
        Conflict: it is so.
    """
    require_unpaused(home, instance)
    hint = f"twinhull stop {instance.name}, then connect or disconnect, then twinhull start {instance.name}"
    if instances.request_from(instance.request).readonly:
        raise Conflict(
            f"the root of {instance.name} is read-only, so its guest could not be told of the change", hint=hint
        )
    if number is None:
        return
    monitor = stack.monitor_pid(holder(f"{home.directory(instance.id)}/alive"))
    count = cards_in(facts.read(f"/proc/{monitor}/cmdline").split("\0"))
    if number >= count:
        raise Conflict(
            f"{instance.name} is a virtual machine whose {count} network cards are all in use, and its board takes "
            "none while it runs",
            hint=hint,
        )


def join(home: Home, instance: Instance, namespace: int, place: Endpoint) -> None:
    """Put the cable of a place, whose veth is there, into a card, and give the guest its address."""
    sent, acks = endpoint.guest_cable(place.number)
    netlink.exchange_in(namespace, sent, acks)
    tell(home, instance, Op("network", endpoint.guest_messages(place)))


def part(home: Home, instance: Instance, namespace: int, place: Endpoint) -> None:
    """Take the cable out of the card of a place, whose veth is gone, and its address from the guest."""
    tap = TAP_INDEX + PAIR * place.number
    try:  # one that is up without a filter would bring the guest's frames to the host's own stack
        netlink.exchange_in(namespace, messages.link_down(tap) + messages.remove_redirect(tap), 1)
    except OSError as error:
        if error.errno not in (ENOENT, EINVAL):
            raise
    index = GUEST_INDEX + place.number
    down = Op("network", (messages.link_down(index, ack=True), 1))
    forget = messages.remove_address(index, place.address, place.prefix)  # those of IPv6 go with the link
    tell(home, instance, down, Op("network", (forget, 1)), fine=EADDRNOTAVAIL)


def lead_out(home: Home, instance: Instance, namespace: int, place: Endpoint, gateway: str) -> None:
    """Send what is for no neighbour through the link of a place."""
    route = messages.add_default_route(GUEST_INDEX + place.number, gateway)
    tell(home, instance, Op("network", (route, 1)), fine=EEXIST)


def read(home: Home, instance: Instance, name: str) -> str | None:
    """Return one of its files in /etc, "" if it has deleted it, None if it has made it too large to be one of ours."""
    content = bytearray()
    with tools.conversation_with(home, instance) as conversation, suppress(NotFound):
        for _, pieces in copy.outgoing(conversation, instance.name, f"/etc/{name}", follow=True):
            for piece in pieces():
                content += piece
                if len(content) > etc.MAX_BYTES:
                    return None
    return content.decode("utf-8", "surrogateescape")


def write(home: Home, instance: Instance, name: str, text: str) -> None:
    """Replace one of its files in /etc, unless it is a volume of the workload's."""
    path = f"/etc/{name}"
    request = instances.request_from(instance.request)
    covered = is_covered(request, path)
    if covered or is_own(request, path):
        mode = ETC_MODE | (MOUNTED if covered else 0)
        tell(home, instance, Op("file", (path, text.encode("utf-8", "surrogateescape"), mode)))


def tell(home: Home, instance: Instance, *ops: Op, fine: int = 0) -> None:
    """Have the agent of a guest perform ops.

    Args:
        fine: the number of an error that means that there is nothing to do.

    Raises:
        LaunchError: one failed otherwise.
    """
    with tools.conversation_with(home, instance) as conversation:
        try:
            for _ in Tool(conversation, NOTHING, before=ops).chunks():
                pass
        except LaunchError as error:
            if error.errno != fine:
                raise
