"""The links of a running container: its addresses and routes, set in its namespace, and the files that tell of them.

Promise: what is there already is fine. `guest_links` has the same for a virtual machine.
"""

from __future__ import annotations

from contextlib import suppress

from twinhull.engine.state import Home
from twinhull.host import netlink
from twinhull.model import Endpoint, Instance
from twinhull.network import endpoint, etc
from twinhull.plan import netlink as messages
from twinhull.plan.netlink import INSIDE_INDEX, PAIR


def join(home: Home, instance: Instance, namespace: int, place: Endpoint) -> None:
    """Give the link of a place, which is there, its address and routes."""
    netlink.exchange_in(namespace, *endpoint.inside_messages(place))


def part(home: Home, instance: Instance, namespace: int, place: Endpoint) -> None:
    """Do nothing: what a link had inside went with it."""


def lead_out(home: Home, instance: Instance, namespace: int, place: Endpoint, gateway: str) -> None:
    """Send what is for no neighbour through the link of a place."""
    with suppress(FileExistsError):
        netlink.exchange_in(namespace, messages.add_default_route(INSIDE_INDEX + PAIR * place.number, gateway), 1)


def read(home: Home, instance: Instance, name: str) -> str | None:
    """Return one of its files in /etc, None if it has made it too large to be one of ours."""
    with open(f"{home.directory(instance.id)}/{name}", "rb") as file:
        content = file.read(etc.MAX_BYTES + 1)
    return content.decode("utf-8", "surrogateescape") if len(content) <= etc.MAX_BYTES else None


def write(home: Home, instance: Instance, name: str, text: str) -> None:
    """Replace one of its files in /etc: in place, for it is a mount."""
    with open(f"{home.directory(instance.id)}/{name}", "r+b") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.truncate()
