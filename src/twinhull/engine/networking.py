"""Networks and who is on them: what the verbs of `network` do."""

from __future__ import annotations

from twinhull.engine.reconcile import reconcile
from twinhull.engine.state import Home, status
from twinhull.errors import Conflict
from twinhull.model import Attachment, Endpoint, Instance
from twinhull.network import bridge, networks
from twinhull.network.networks import Network, Wish
from twinhull.store import instances


def create(home: Home, wish: Wish) -> Network:
    """Make a network.

    Raises:
        InvalidRequest, Conflict: it cannot be as it was wished for.
        HostUnfit: this host cannot have it.
    """
    from twinhull.engine.life import require_root

    require_root(home)
    return networks.create(home.config, home.db, wish)


def everything(home: Home) -> list[Network]:
    """Every network that was made."""
    return networks.everything(home.db)


def members(home: Home, network: Network) -> list[tuple[Instance, Endpoint]]:
    """Who is on a network, by name."""
    found = [(instance, place) for instance in instances.everything(home.db) for place in instance.endpoints]
    return sorted(
        [row for row in found if row[1].network == network.name and status(home, row[0]) in ("running", "paused")]
    )


def remove(home: Home, name: str) -> None:
    """Take a network away.

    Raises:
        NotFound: there is none.
        Conflict: a workload is on it.
    """
    from twinhull.engine.life import require_root

    require_root(home)
    reconcile(home, everything=True)  # who has just ended holds its address until a command looks
    networks.remove(home.config, home.db, name)


def prune(home: Home) -> list[str]:
    """Take away every network that no workload names, running or not; return their names.

    What the host has of the default one (link, packet filter's rules) goes with it, and comes back with its next start.
    """
    from twinhull.engine.life import require_root

    require_root(home)
    reconcile(home, everything=True)
    gone = []
    named = {wanted.network for instance in instances.everything(home.db) for wanted in wanted_by(instance)}
    for network in networks.everything(home.db):
        if network.name in named:
            continue
        try:
            bridge.remove(home.config, home.db, network.name)
        except Conflict:
            continue  # a workload came meanwhile
        gone.append(network.name)
    return gone


def wanted_by(instance: Instance) -> tuple[Attachment, ...]:
    """The networks that a workload is to be on when it runs."""
    return instances.request_from(instance.request).networks
