"""The network of a workload: what its row holds, what its plan does, what its files say."""

from __future__ import annotations

from twinhull.config import Config
from twinhull.engine.state import Home
from twinhull.errors import InvalidRequest, LaunchError, TwinhullError, UnsupportedSpec
from twinhull.host import files
from twinhull.model import Endpoint, Instance, Port, Request
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.plan.compile import Network
    from twinhull.plan.ops import Op

ELOOP = 40
# What runs under QEMU: its end of the network is a tap.
OWN_KERNEL = {"vm": "virtual machine", "machine": "machine"}


def check(request: Request) -> None:
    """Refuse what no network can do.

    Raises:
        InvalidRequest: an unknown network, or ports where nothing can be published.
    """
    if request.network not in ("none", "host", "bridge"):
        raise InvalidRequest(f"no such network: {request.network}", hint="--network none, host or bridge")
    if request.network == "host" and request.isolation in OWN_KERNEL:
        raise InvalidRequest(
            f"a {OWN_KERNEL[request.isolation]} has a kernel of its own and cannot share the host's network",
            hint="--network bridge with -p HOST:PORT publishes its ports on the host",
        )
    if request.mac and request.network != "bridge":
        raise InvalidRequest(f"a hardware address cannot be given with --network {request.network}")
    if request.ports and request.network != "bridge":
        raise InvalidRequest(f"ports cannot be published with --network {request.network}")


def prepare(home: Home, request: Request) -> None:
    """Make what every workload of the network needs; outside any transaction, for it may take long."""
    if request.network == "bridge":
        from twinhull.network import bridge

        bridge.ensure(home.config, home.db, request.network)


def reserve(home: Home, identity: str, request: Request) -> tuple[Endpoint | None, tuple[Port, ...]]:
    """Inside a transaction: take an address and the ports."""
    if request.network != "bridge":
        return None, ()
    from twinhull.network import leases, ports

    endpoint = leases.allocate(home.db, home.config, request.network, identity)
    endpoint = endpoint._replace(mac=request.mac or endpoint.mac)
    taken = ports.reserve(home.db, home.config, identity, request.ports) if request.ports else ()
    return endpoint, taken


def plan(config: Config, request: Request, endpoint: Endpoint | None, ports: tuple[Port, ...]) -> Network:
    """The ops for the workload's network."""
    from twinhull.plan.compile import Network
    from twinhull.plan.ops import Op

    guest = request.isolation in OWN_KERNEL
    if request.network == "host":
        return Network()
    if endpoint is None:
        from twinhull.network import alone

        own = (Op("network", alone.guest_messages_none()),) if guest else ()
        return Network(*alone.plan_none(guest=guest), own)
    from twinhull.network import endpoint as ends

    host, undo = ends.plan_endpoint(config, endpoint, ports, guest=guest)
    if request.isolation == "machine":
        from twinhull.network import dhcp

        undo = (*undo, *dhcp.undo_ops(config, endpoint))
    inside: tuple[Op, ...] = ()
    if guest:
        inside = (Op("network", ends.guest_messages(endpoint)),)
    return Network(host, undo, inside)


def etc_files(request: Request, endpoint: Endpoint | None, hostname: str) -> Iterator[tuple[str, str]]:
    """Give (path inside, content) of what the workload reads about its network."""
    from twinhull.network import etc

    name = f"{hostname}.{request.domainname} {hostname}" if request.domainname else hostname
    host = request.network == "host"
    hosts = files.read("/etc/hosts").decode("utf-8", "replace") if host else etc.hosts_file(endpoint, name)
    names = etc.resolv_conf_host() if host else etc.resolv_conf(endpoint)
    if request.hosts:
        hosts += etc.host_lines(request.hosts, endpoint.gateway if endpoint else "127.0.0.1" if host else "")
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
    """Let the others on the network find the workload by its name; it answers when the block is left."""
    if instance.endpoint is None:
        yield
        return
    from twinhull.network import dns

    if instance.isolation == "machine":
        from twinhull.network import dhcp

        dhcp.serve(home.config, instance.endpoint, hostname)
    with dns.publishing(home.config, instance.endpoint, (instance.name, instance.id[:12], hostname)):
        yield


def disconnect(home: Home, instance: Instance) -> None:
    """Give back address, ports and names."""
    if instance.endpoint is None:
        return
    from twinhull.network import dns, leases
    from twinhull.store import instances
    from twinhull.store.db import transaction

    dns.withdraw(home.config, instance.endpoint)
    if instance.isolation == "machine":
        from twinhull.network import dhcp

        dhcp.withdraw(home.config, instance.endpoint)
    with transaction(home.db, durable=False):
        leases.release(home.db, instance.id)
        instances.set_endpoint(home.db, instance.id, None, ())
