"""A workload without a network, as ops: a namespace with nothing but its loopback."""

from __future__ import annotations

from twinhull.plan.netlink import GUEST_INDEX, LOOPBACK_INDEX, link_down, link_up
from twinhull.plan.ops import Op

Ops = tuple[Op, ...]


def plan_none(*, guest: bool = False) -> tuple[Ops, Ops]:
    """Return the ops for a namespace with nothing but its loopback; a guest has its own."""
    if guest:
        return (Op("netns"),), ()
    return (Op("netns"), Op("netlink-inside", (link_up(LOOPBACK_INDEX, ack=True), 1))), ()


def guest_messages_none() -> tuple[bytes, int]:
    """Return what is sent in a guest without a network: its machine has a card all the same, with no cable in it."""
    return link_up(LOOPBACK_INDEX, ack=True) + link_down(GUEST_INDEX, ack=True), 2
