"""A workload joins or leaves a network, also while it runs.

Promise: its row has the place before a link is made and until one is gone. What was interrupted is finished by the
same verb again, or undone with the workload's end.
"""

from __future__ import annotations

from contextlib import suppress

from twinhull.engine import connectivity, guest_links, links
from twinhull.engine.state import Home, status
from twinhull.errors import Conflict, NotFound, SupervisorLost
from twinhull.host import locks
from twinhull.model import Attachment, Endpoint, Instance, Request
from twinhull.network import bridge, leases, networks
from twinhull.network.endpoint import reaching
from twinhull.scopes import contextmanager
from twinhull.store import instances
from twinhull.store.db import transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def attach(home: Home, name: str, wanted: Attachment) -> None:
    """Put a workload on one more network.

    Raises:
        NotFound: there is no such workload or network.
        Conflict: it is on it already, or runs and cannot have another link.
    """
    wanted = wanted._replace(network=networks.named(home.db, wanted.network))
    with held(home, name) as (instance, request):
        if request.network == "host":
            raise Conflict(f"{instance.name} shares the host's network and can be on no other")
        if any(place.network == wanted.network for place in request.networks):
            raise Conflict(f"{instance.name} is on network {wanted.network!r} already")
        after = on(request, (*request.networks, wanted))
        connectivity.check(after)
        if is_up(home, instance):
            instance = without_half_joined(home, instance, wanted.network)
            require_links(home, instance, free_number(instance.endpoints))
            bridge.ensure(home.config, home.db, wanted.network)
            join(home, instance, wanted)
        with transaction(home.db):
            instances.set_request(home.db, instance.id, after)


def without_half_joined(home: Home, instance: Instance, network: str) -> Instance:
    """Undo what is left of an earlier command that was killed while it connected a workload to this network."""
    place = next((place for place in instance.endpoints if place.network == network), None)
    if place is None:
        return instance
    require_links(home, instance)
    part(home, instance, place)
    return instances.find(home.db, instance.id)


def join(home: Home, instance: Instance, wanted: Attachment) -> None:
    """Connect a running workload; nothing has changed if that fails."""
    before = instance.endpoints
    with transaction(home.db):
        place = leases.allocate(home.db, wanted.network, instance.id, wanted=wanted.address, wanted6=wanted.address6)
        place = place._replace(
            number=free_number(before),
            default=place.default and not any(other.default for other in before),
            aliases=wanted.aliases,
        )
        instances.set_endpoints(home.db, instance.id, (*before, place), instance.ports)
    try:
        with links.namespace_of(home, instance) as namespace:
            links.join(home, instance, namespace, before, place)
    except BaseException as error:
        with suppress(SupervisorLost):
            part(home, instance._replace(endpoints=(*before, place)), place)
        if isinstance(error, OSError):
            raise Conflict(f"{instance.name} cannot be connected to {wanted.network!r}: {error.strerror}") from error
        raise


def detach(home: Home, name: str, network: str) -> None:
    """Take a workload off a network.

    Raises:
        NotFound: there is no such workload, or it is not on the network.
        Conflict: it runs and its link cannot be taken.
    """
    network = networks.named(home.db, network)
    with held(home, name) as (instance, request):
        rest = tuple(wanted for wanted in request.networks if wanted.network != network)
        if len(rest) == len(request.networks):
            raise NotFound(f"{instance.name} is not on network {network!r}", hint=f"twinhull inspect {instance.name}")
        place = next((place for place in instance.endpoints if place.network == network), None)
        if place and is_up(home, instance):
            require_links(home, instance)
            if reaching(instance.endpoints) is place and any(":" in port.address for port in instance.ports):
                raise Conflict(
                    f"{instance.name} publishes ports on IPv6 by network {network!r}", hint="stop it first, or stay"
                )
            part(home, instance, place)
        with transaction(home.db):
            instances.set_request(home.db, instance.id, on(request, rest))


def part(home: Home, instance: Instance, place: Endpoint) -> None:
    """Take the link of a running workload, then give its address back. What is gone already is fine."""
    with links.namespace_of(home, instance) as namespace:
        after = links.part(home, instance, namespace, place)
    with transaction(home.db):
        leases.release_one(home.db, instance.id, place.network)
        instances.set_endpoints(home.db, instance.id, after, instance.ports)


@contextmanager
def held(home: Home, name: str) -> Iterator[tuple[Instance, Request]]:
    """Give a workload that nobody else starts, stops or connects meanwhile, and what it was asked to be."""
    found = instances.find(home.db, name)
    with locks.locked(f"{home.directory(found.id)}/lock"):
        instance = instances.get(home.db, found.id)
        if instance is None:
            raise NotFound(f"no such workload: {name}", hint="twinhull ps --all lists them")
        yield instance, instances.request_from(instance.request)


def is_up(home: Home, instance: Instance) -> bool:
    """True if it runs, perhaps paused."""
    return status(home, instance) in ("running", "paused")


def free_number(places: tuple[Endpoint, ...]) -> int:
    """The number of a link that there is none with yet."""
    numbers = {place.number for place in places}
    return next(number for number in range(len(numbers) + 1) if number not in numbers)


def require_links(home: Home, instance: Instance, number: int | None = None) -> None:
    """Refuse what runs and cannot have another link, or do without one that it has.

    Args:
        number: of the link that it shall have.

    Raises:
        Conflict: it has a kernel of its own, whose board was made with its network cards.
    """
    if instance.isolation == "vm":
        guest_links.require(home, instance, number)
    elif instance.isolation == "machine":
        raise Conflict(
            f"{instance.name} is a machine: its board takes no network card while it runs, and gives none up",
            hint=f"twinhull stop {instance.name}, then connect or disconnect, then twinhull start {instance.name}",
        )


def on(request: Request, attachments: tuple[Attachment, ...]) -> Request:
    """Return a request for these networks instead; for none, what was published has no way in."""
    if not attachments:
        return request._replace(network="none", attachments=())
    return request._replace(network=attachments[0].network, attachments=attachments)
