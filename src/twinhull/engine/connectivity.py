"""The network of a workload: what its row holds, what its plan does, what its files say."""

from __future__ import annotations

from twinhull import jsontext
from twinhull.config import Config
from twinhull.engine.state import Home
from twinhull.errors import InvalidRequest, LaunchError, TwinhullError, UnsupportedSpec
from twinhull.host import files
from twinhull.host.facts import is_rootless
from twinhull.model import Endpoint, Instance, Port, Request
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.plan.compile import Network
    from twinhull.plan.ops import Op

ELOOP = 40
MAX_NICS = 8  # plan.qemu has it too, for which a container has no use
# What runs under QEMU: its end of the network is a tap.
OWN_KERNEL = {"vm": "virtual machine", "machine": "machine"}


def check(request: Request) -> None:
    """Refuse what no network can do.

    Raises:
        InvalidRequest: ports where nothing can be published, or the host's network for what cannot share it.
    """
    if request.network == "host" and request.isolation in OWN_KERNEL:
        raise InvalidRequest(
            f"a {OWN_KERNEL[request.isolation]} has a kernel of its own and cannot share the host's network",
            hint="--network bridge with -p HOST:PORT publishes its ports on the host",
        )
    if request.mac and not request.networks:
        raise InvalidRequest(f"a hardware address cannot be given with --network {request.network}")
    if request.expose:
        from twinhull.network import ports

        ports.exposed(request.expose)
    count = len(request.networks)
    if request.isolation == "machine" and count > 1:
        raise InvalidRequest("a machine is on one network", hint="leave one --network out")
    if request.isolation == "vm" and count > MAX_NICS:
        raise InvalidRequest(f"{count} networks: the board of a virtual machine takes {MAX_NICS} cards")
    if request.ports and not request.networks:
        raise InvalidRequest(f"ports cannot be published with --network {request.network}")


def with_exposed(request: Request, config: str) -> Request:
    """Return a request that publishes what the image and --expose name, but for what it publishes already.

    Args:
        config: of the image.

    Raises:
        InvalidRequest: a name is no port.
    """
    from twinhull.network import ports

    inside = jsontext.loads(config).get("config") or {}
    named = ports.exposed([*(inside.get("ExposedPorts") or ()), *request.expose])
    given = {(port.port, port.protocol) for port in request.ports}
    more = tuple(port for port in named if (port.port, port.protocol) not in given)
    return request._replace(ports=(*request.ports, *more))


def require(home: Home, request: Request) -> None:
    """Refuse a network that there is not.

    Raises:
        NotFound: it was never created.
    """
    for wanted in request.networks:
        if wanted.network != "bridge":
            from twinhull.network import networks

            networks.find(home.db, wanted.network)


def prepare(home: Home, request: Request) -> None:
    """Make what every workload of the networks needs; outside any transaction, for it may take long."""
    if wanted := request.networks:
        from twinhull.network import bridge

        if is_rootless():
            from twinhull.engine import rootless

            rootless.connect(home)
        for attachment in wanted:
            bridge.ensure(home.config, home.db, attachment.network)


def reserve(home: Home, identity: str, request: Request) -> tuple[tuple[Endpoint, ...], tuple[Port, ...]]:
    """Inside a transaction: take an address on each network, and the ports.

    Raises:
        InvalidRequest: ports, and every network is internal.
    """
    if not request.networks:
        return (), ()
    from twinhull.network import leases, ports

    endpoints = leases.allocate_all(home.db, request.networks, identity)
    if request.mac:
        endpoints = (endpoints[0]._replace(mac=request.mac), *endpoints[1:])
    if not request.ports:
        return endpoints, ()
    from twinhull.network.endpoint import reaching

    reached = reaching(endpoints)
    if reached is None:
        raise InvalidRequest(
            f"ports cannot be published: network {endpoints[0].network!r} is internal",
            hint="name another network too: --network bridge",
        )
    return endpoints, ports.reserve(home.db, home.config, identity, request.ports, reached.network)


def plan(config: Config, request: Request, endpoints: tuple[Endpoint, ...], ports: tuple[Port, ...]) -> Network:
    """The ops for the workload's networks."""
    from twinhull.plan.compile import Network
    from twinhull.plan.ops import Op

    guest = request.isolation in OWN_KERNEL
    if request.network == "host":
        return Network()
    if not endpoints:
        from twinhull.network import alone

        own = (Op("network", alone.guest_messages_none()),) if guest else ()
        return Network(*alone.plan_none(guest=guest), own)
    from twinhull.network import endpoint as ends

    if ports and is_rootless():
        from twinhull.network import uplink

        ports = uplink.inside(ports)
    host, undo = ends.plan_endpoints(config, endpoints, ports, guest=guest)
    if request.isolation == "machine":
        from twinhull.network import dhcp

        undo = (*undo, *[op for place in endpoints for op in dhcp.undo_ops(config, place)])
    inside: tuple[Op, ...] = ()
    if guest:
        inside = tuple([Op("network", ends.guest_messages(place)) for place in endpoints])
    return Network(host, undo, inside)


def etc_files(request: Request, endpoints: tuple[Endpoint, ...], hostname: str) -> Iterator[tuple[str, str]]:
    """Give (path inside, content) of what the workload reads about its network."""
    from twinhull.network import etc

    name = f"{hostname}.{request.domainname} {hostname}" if request.domainname else hostname
    host = request.network == "host"
    hosts = files.read("/etc/hosts").decode("utf-8", "replace") if host else etc.hosts_file(endpoints, name)
    names = etc.resolv_conf_host() if host else etc.resolv_conf(endpoints)
    if request.hosts:
        gateway = etc.asked(endpoints).gateway if endpoints else "127.0.0.1" if host else ""
        hosts += etc.host_lines(request.hosts, gateway)
    if request.dns or request.dns_search or request.dns_options:
        names = etc.changed(names, request.dns, request.dns_search, request.dns_options)
    yield "/etc/hostname", hostname + "\n"
    yield "/etc/hosts", hosts
    yield "/etc/resolv.conf", names


def explain(error: LaunchError) -> TwinhullError:
    """Say what a step of the launcher that failed means to whoever asked for it."""
    if error.errno == ELOOP and error.target.split("/")[1:2] in (["proc"], ["sys"], ["dev"]):
        hint = "mounts of the kernel's own would go where the link leads (CVE-2023-28642)"
        return UnsupportedSpec(f"the image has a symbolic link at {error.target}, which is refused", hint=hint)
    from twinhull.network import ports

    return ports.explain(error)


@contextmanager
def announcing(home: Home, instance: Instance, hostname: str) -> Iterator[None]:
    """Let the others on its networks find the workload by its names; they answer when the block is left."""
    if not instance.endpoints:
        yield
        return
    if instance.isolation == "machine":
        from twinhull.network import dhcp

        for place in instance.endpoints:
            dhcp.serve(home.config, place, hostname)
    with published(home, instance, instance.endpoints, hostname):
        if len(instance.endpoints) > 1:
            from twinhull.network import resolver

            resolver.serve(home.config, instance.endpoints)
        yield


@contextmanager
def published(home: Home, instance: Instance, places: tuple[Endpoint, ...], hostname: str) -> Iterator[None]:
    """The names on each of these networks, one name server's start beside the others'."""
    from twinhull.network import dns

    names = names_of(instance, places[0], hostname)
    with dns.publishing(home.config, places[0], names):
        if places[1:]:
            with published(home, instance, places[1:], hostname):
                yield
        else:
            yield


def names_of(instance: Instance, place: Endpoint, hostname: str) -> tuple[str, ...]:
    """What a workload is called on a network."""
    return (*place.aliases, instance.name, instance.id[:12], hostname)


def disconnect(home: Home, instance: Instance) -> None:
    """Give back addresses, ports and names."""
    if not instance.endpoints:
        return
    from twinhull.network import dns, leases
    from twinhull.store import instances
    from twinhull.store.db import transaction

    for place in instance.endpoints:
        dns.withdraw(home.config, place)
        if instance.isolation == "machine":
            from twinhull.network import dhcp

            dhcp.withdraw(home.config, place)
    if len(instance.endpoints) > 1:
        from twinhull.network import resolver

        resolver.withdraw(home.config, instance.endpoints)
    with transaction(home.db, durable=False):
        leases.release(home.db, instance.id)
        instances.set_endpoints(home.db, instance.id)
