"""One start of a workload: its config.json, the files below /etc, and the plan made of them."""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.engine import connectivity
from twinhull.engine.state import Home
from twinhull.host import files
from twinhull.host.facts import executes, read_facts
from twinhull.host.seccomp import spec_filter
from twinhull.model import Facts, Image, Instance, Request
from twinhull.oci.spec import Identity, make_spec
from twinhull.plan.compile import STDIN_CLIENT, STDIN_NONE, STDIN_OPEN, Network, Root, compile_plan
from twinhull.plan.ops import Plan
from twinhull.plan.seccomp import GUEST_ARCHITECTURE
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.plan.qemu import Architecture


class Bundle(NamedTuple):
    """What a runtime needs of one start: the plan, and what it was made from.

    Attributes:
        accelerator: of a machine's QEMU, which is a part of its plan.
        architecture: of the guest's processor, None for this machine's.
    """

    plan: Plan
    image: Image
    request: Request
    hostname: str
    network: Network
    accelerator: str = ""
    architecture: Architecture | None = None


def make_bundle(home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int]) -> Bundle:
    """Write config.json and the files under /etc; return the plan. A machine has neither: its disk is its own."""
    if instance.isolation == "machine":
        return machine_bundle(home, instance, image, request, size)
    request = with_paths(home, request)
    directory, guest = home.directory(instance.id), instance.isolation == "vm"
    facts = read_facts()
    hostname = request.hostname or (os.uname().nodename if request.network == "host" else instance.id[:12])
    etc = tuple(connectivity.etc_files(request, instance.endpoints, hostname))
    binds = () if guest else tuple(write_etc(directory, path, content) for path, content in etc)
    spec = workload_spec(image, request, Identity(instance.id, hostname, binds), facts)
    if request.tty and any(size):
        spec["process"]["consoleSize"] = {"height": size[0], "width": size[1]}
    network = connectivity.plan(home.config, request, instance.endpoints, instance.ports)
    if request.runtime and not guest:
        return external_bundle(home, instance, Bundle(Plan(), image, request, hostname, network), spec)
    files.write(f"{directory}/config.json", jsontext.dumps(spec).encode())
    plan = compile_plan(
        spec,
        facts,
        guest_root(remove=instance.remove) if guest else layered_root(home, instance, image),
        network,
        place="guest" if guest else "host",
        seccomp=spec_filter(home.config.state, spec),
        stdin=stdin_mode(request),
        files=tuple((path, content.encode()) for path, content in etc if is_own(request, path)) if guest else (),
        covers=tuple((path, content.encode()) for path, content in etc if is_covered(request, path)) if guest else (),
    )
    return Bundle(plan, image, request, hostname, network, architecture=guest_architecture(image) if guest else None)


def external_bundle(home: Home, instance: Instance, bundle: Bundle, spec: dict[str, Any]) -> Bundle:
    """The bundle of a container that another OCI runtime makes."""
    from twinhull.engine import external

    runtime = external.runtime_of(home, instance, bundle.request)
    root = layered_root(home, instance, bundle.image)
    plan, changed = external.make_plan(runtime, spec, root, bundle.network, stdin_mode(bundle.request))
    files.write(f"{runtime.bundle}/config.json", jsontext.dumps(changed).encode())
    return bundle._replace(plan=plan)


def with_runtime(request: Request) -> Request:
    """The request with the path of its OCI runtime; without one, nothing is imported."""
    if not request.runtime:
        return request
    from twinhull.engine import external

    return external.resolved(request)


def guest_architecture(image: Image) -> Architecture | None:
    """The processor of the guests that run an image; None for this machine's.

    Raises:
        HostUnfit: there are no such guests.
    """
    if not image.platform or executes(image.platform):
        return None
    from twinhull.engine import foreign

    return foreign.guest_of(image.platform)


def is_own(request: Request, path: str) -> bool:
    """False for a path on a volume: what a guest writes there is written on the host."""
    return not any(path == volume.target or path.startswith(f"{volume.target}/") for volume in request.volumes)


def is_covered(request: Request, path: str) -> bool:
    """True for a path on a volume that is not a volume itself: the workload's own file lies on top of it."""
    return not is_own(request, path) and path not in [volume.target for volume in request.volumes]


def with_volumes(home: Home, image: Image, request: Request) -> Request:
    """The request with a name for each of its volumes; without any, nothing is imported."""
    if not (request.volumes or request.volumes_from) and '"Volumes"' not in image.config:
        return request
    from twinhull.engine import volumes

    return volumes.named(image, volumes.inherited(home, request))


def make_volumes(home: Home, image: Image, request: Request) -> None:
    """Make the volumes that a workload asks for; without any, nothing is imported."""
    if request.volumes:
        from twinhull.engine import volumes

        volumes.ensure(home, image, request)


def with_paths(home: Home, request: Request) -> Request:
    """The request with the paths of its volumes; without any, nothing is imported."""
    if not request.volumes:
        return request
    from twinhull.engine import volumes

    return volumes.resolved(home, request)


def workload_spec(image: Image, request: Request, identity: Identity, facts: Facts) -> dict[str, Any]:
    """The spec with what this host adds to it: its processors, its devices, its kernel's release."""
    devices: Sequence[Mapping[str, Any]] = ()
    if request.devices or (request.privileged and request.isolation == "container"):
        from twinhull.engine.devices import nodes

        devices = nodes(request)
    kernel = os.uname().release if request.isolation == "container" else ""
    spec = make_spec(image, request, identity, cpu_count=facts.cpu_count, devices=devices, kernel=kernel)
    if request.isolation == "vm" and (architecture := guest_architecture(image)):
        spec["annotations"][GUEST_ARCHITECTURE] = architecture
    return spec


def machine_bundle(home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int]) -> Bundle:
    """The plan of a machine's QEMU; the name is what others on the network find it by."""
    from twinhull.engine import machines

    network = connectivity.plan(home.config, request, instance.endpoints, instance.ports)
    plan, accelerator = machines.make_plan(home, instance, request, network, size)
    return Bundle(plan, image, request, request.hostname or instance.name, network, accelerator)


def write_etc(directory: str, path: str, content: str) -> tuple[str, str]:
    """Write one file that the workload sees under /etc; return (path on the host, path inside)."""
    source = f"{directory}/{os.path.basename(path)}"
    files.write(source, content.encode(), 0o644)
    return source, path


def layered_root(home: Home, instance: Instance, image: Image) -> Root:
    """The image's layers under the workload's own."""
    from twinhull.store import snapshot

    base, lower = snapshot.lower(home.config, home.db, image)
    directory = home.directory(instance.id)
    return Root(base, lower, f"{directory}/upper", f"{directory}/work", volatile=instance.remove)


def guest_root(*, remove: bool) -> Root:
    """The image's disk under a scratch disk; what --rm throws away may lie in memory."""
    return Root("", "image", "tmpfs" if remove else "disk", "", volatile=remove)


def stdin_mode(request: Request) -> int:
    """-i ends with the client that feeds it, or waits for one; without -i there is nothing to read."""
    if not request.interactive:
        return STDIN_NONE
    return STDIN_OPEN if request.stdin_open else STDIN_CLIENT
