"""The plan of a request, made without any effect: what `twinhull plan` shows.

Promise: nothing is written, taken or started. What only a start decides (id, address, ports that are
left to chance) is shown by an example value.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.engine import connectivity, foreign, isolation
from twinhull.engine.bundle import (
    guest_architecture,
    guest_root,
    stdin_mode,
    with_paths,
    with_runtime,
    with_volumes,
    workload_spec,
)
from twinhull.engine.images import resolve
from twinhull.engine.state import Home, open_home
from twinhull.errors import HostUnfit
from twinhull.host.facts import read_facts
from twinhull.host.seccomp import spec_filter
from twinhull.model import Endpoint, Image, Request
from twinhull.oci.spec import Identity
from twinhull.plan.compile import Network, Root, compile_plan
from twinhull.plan.external import Runtime, compile_external, external_spec
from twinhull.plan.guest import guest_plan
from twinhull.plan.ops import Op
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.ops import Plan

EXAMPLE_ID = "0" * 64
EXAMPLE_HOSTNAME = "0" * 12
EXAMPLE_PORT = 32768


class Part(NamedTuple):
    """The ops that are performed in one place ("host" or "guest"), in order of host, child, undo.

    Attributes:
        notes: what was assumed, or why there are no ops.
    """

    place: str
    ops: tuple[Op, ...]
    notes: tuple[str, ...] = ()


def preview(config: Config, request: Request) -> tuple[Part, ...]:
    """Return the request's plan: of a virtual machine that of QEMU's jail, then what its agent is sent."""
    home = open_home(config)
    try:
        return parts_of(home, request)
    finally:
        home.closed()


def parts_of(home: Home, request: Request) -> tuple[Part, ...]:
    """The same with the state that is open."""
    image = image_of(home, request)
    request = isolation.settle(home, request, image, prove=False)
    connectivity.check(request)
    plan = plan_of(home, image, request)
    if request.isolation != "vm":
        return (Part("host", (*plan.host, *plan.child, *plan.undo)),)
    return jail_part(home, image, request), Part("guest", guest_plan(plan))


def jail_part(home: Home, image: Image, request: Request) -> Part:
    """What the host does for a virtual machine."""
    from twinhull.engine.preview_jail import jail_of

    config = home.config
    request = with_paths(home, with_volumes(home, image, request))
    try:
        jail = jail_of(config, request, network_of(config, request), EXAMPLE_ID, guest_architecture(image))
    except HostUnfit as error:
        return Part("host", (), (f"left out: {error.message}",))
    return Part("host", (*jail.plan.host, *jail.plan.child, *jail.plan.undo), jail.notes)


def plan_of(home: Home, image: Image, request: Request) -> Plan:
    """The plan of a request whose isolation is decided.

    Raises:
        UnsupportedSpec, InvalidRequest: that isolation cannot do it.
    """
    config = home.config
    request = with_runtime(with_paths(home, with_volumes(home, image, request)))
    facts = read_facts()
    directory = home.directory(EXAMPLE_ID)
    etc = tuple((f"{directory}/{name}", f"/etc/{name}") for name in ("hostname", "hosts", "resolv.conf"))
    hostname = request.hostname or (os.uname().nodename if request.network == "host" else EXAMPLE_HOSTNAME)
    spec = workload_spec(image, request, Identity(EXAMPLE_ID, hostname, etc), facts)
    guest = request.isolation == "vm"
    layered = root_of(home_base(config), len(image.layers), directory, volatile=request.remove)
    root = guest_root(remove=request.remove) if guest else layered
    network = network_of(config, request)
    if request.runtime:
        runtime = Runtime(request.runtime, directory, EXAMPLE_ID)
        spec = external_spec(spec, facts, runtime, network)
        return compile_external(spec, facts, root, network, runtime, stdin=stdin_mode(request))
    return compile_plan(
        spec,
        facts,
        root,
        network,
        place="guest" if guest else "host",
        seccomp=spec_filter(config.state, spec),
        stdin=stdin_mode(request),
    )


def image_of(home: Home, request: Request) -> Image:
    """The image; without root the embedded one is only described, for it cannot be unpacked.

    Raises:
        HostUnfit: the request names a platform that nothing here runs in its isolation.
    """
    if request.platform and request.isolation != "auto":
        foreign.check(home.config, request.platform, request.isolation)
    if os.geteuid() != 0:
        from twinhull.store import embedded, images

        found = images.find(home.db, request.image, default_registry=home.config.default_registry)
        if found is None and not request.platform and embedded.is_meant(home.db, request.image):
            return embedded.describe()
    return resolve(home, request.image, platform=request.platform)


def home_base(config: Config) -> str:
    """Where layers lie."""
    return f"{config.state}/layers"


def root_of(base: str, layers: int, directory: str, *, volatile: bool) -> Root:
    """An overlay of as many layers as the image has."""
    lower = ":".join(str(number) for number in range(layers, 0, -1))
    return Root(base, lower, f"{directory}/upper", f"{directory}/work", volatile)


def network_of(config: Config, request: Request) -> Network:
    """The network's ops for an address that nobody was given."""
    if not request.networks:
        return connectivity.plan(config, request, (), ())
    base = config.subnet.partition("/")[0].rsplit(".", 1)[0]
    example = Endpoint("bridge", "twinhull0", 0, f"{base}.2", 16, f"{base}.1", "02:00:00:00:00:02", "tw-example")
    endpoints = tuple(
        example._replace(network=wanted.network, number=number, default=number == 0)
        for number, wanted in enumerate(request.networks)
    )
    ports = [
        port._replace(address=port.address or config.default_bind, host_port=port.host_port or EXAMPLE_PORT + number)
        for number, port in enumerate(request.ports)
    ]
    return connectivity.plan(config, request, endpoints, tuple(ports))
