"""The life of a workload, from the request to the exec: architecture.md has it on one page.

Promise: whatever dies at whatever line, the next command can tell what was meant and finish it.
"""

from __future__ import annotations

import os
import time

from twinhull.engine import connectivity, names, spares
from twinhull.engine.bundle import Bundle, make_bundle, make_volumes, with_runtime, with_volumes
from twinhull.engine.reconcile import discard
from twinhull.engine.state import Home
from twinhull.errors import Conflict, HostUnfit, InvalidRequest, LaunchError, NoWall, TemplateFailed, TwinhullError
from twinhull.host import files, locks
from twinhull.host.facts import boot_id, executes, is_rootless
from twinhull.model import Image, Instance, Request, in_order
from twinhull.oci.spec import Identity, cpu_limits, make_spec
from twinhull.runtime import container
from twinhull.runtime.container import Prepared
from twinhull.runtime.sandbox import Sandbox
from twinhull.scopes import contextmanager
from twinhull.store import instances
from twinhull.store.db import transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.runtime.spare import Spare
    from twinhull.runtime.vm import Origin

NAME_TRIES = 20


def create(home: Home, image: Image, request: Request) -> Instance:
    """Write down a workload without starting it.

    Raises:
        Conflict: the name is in use.
    """
    request = with_runtime(with_volumes(home, image, request))
    if request.publish_all:
        request = connectivity.with_exposed(request, image.config)
    instance = new_instance(home, image, request)
    with new_directory(home, instance.id) as directory:
        with transaction(home.db):
            instance = insert_named(home, instance)
        try:
            make_volumes(home, image, request)
        except BaseException:
            discard(home, instance)
            raise
        files.publish(f"{directory}/created", b"")
    return instance


@contextmanager
def new_directory(home: Home, identity: str, spare: Spare | None = None) -> Iterator[str]:
    """Make the directory of a new workload and hold its lock; it is gone again if the block raises.

    It gets its name when it is whole and locked: a reconcile that finds it before would take it for a leftover.
    A spare has one.
    """
    directory, early = home.directory(identity), home.directory(f".{identity}")
    if spare and os.path.isdir(spare.directory):  # without it the guest will not start, and the template will
        early = spare.directory
    make_directories(early)
    with locks.locked(f"{early}/lock"):
        os.rename(early, directory)
        try:
            yield directory
        except BaseException:
            if instances.get(home.db, identity) is None:
                if spare:
                    let_go(spare, directory)
                files.remove_tree(directory)
            raise


def let_go(spare: Spare, directory: str) -> None:
    """Undo a guest that waited, if no workload has begun in it."""
    spare.conversation.close()
    container.await_supervisor(directory)


def new_instance(home: Home, image: Image, request: Request) -> Instance:
    """The row for a request, checked as far as it can be without effects."""
    require_root(home)
    check_isolation(request)
    if is_rootless():
        from twinhull.engine import rootless

        rootless.check(request)
    if request.restart:
        from twinhull.engine import policy

        policy.check(request)
    if image.platform and not executes(image.platform):
        from twinhull.engine import foreign

        foreign.check(home.config, image.platform, request.isolation)
    connectivity.check(request)
    connectivity.require(home, request)
    if request.name and not names.is_valid(request.name):
        raise InvalidRequest(f"invalid name {request.name!r}", hint=names.RULE)
    spec = make_spec(image, request, Identity("0", "0"))  # says now what would fail at start
    return Instance(
        id=os.urandom(32).hex(),
        name=request.name,
        image=request.image,
        image_digest=image.digest,
        isolation="vm" if request.isolation == "vm" else "container",
        created=time.time(),
        command=tuple(spec["process"]["args"]),
        request=instances.request_text(request),
        started=0.0,
        boot_id="",
        endpoints=(),
        ports=(),
        remove=request.remove,
    )


def check_isolation(request: Request) -> None:
    """Refuse a word that is no isolation, which must never mean one that the caller did not ask for.

    Raises:
        InvalidRequest: it is none, or cannot be had as it was asked for.
    """
    if request.isolation == "machine":
        raise InvalidRequest("a machine is created from a disk, not from an image", hint="Engine.create_machine")
    if request.isolation not in ("container", "vm"):
        raise InvalidRequest(f"no such isolation: {request.isolation!r}", hint="container, vm or auto")
    if request.boots and request.isolation == "container":
        raise InvalidRequest("--no-template: a container has no kernel to boot", hint="add --vm")


def require_root(home: Home) -> None:
    """Refuse before anything is fetched or unpacked.

    Raises:
        HostUnfit: this is not root.
    """
    if os.geteuid() != 0:
        raise refusal(home)


def refusal(home: Home) -> HostUnfit:
    """Why a user without root gets nothing that half works: the doctor's facts in one error."""
    from twinhull.host import doctor

    facts = doctor.examine(home.config.launcher, home.config.state)
    if doctor.lacking(facts, "run"):
        return doctor.refusal(facts) or HostUnfit("running workloads needs root", hint="sudo …")
    return HostUnfit(
        "this process is in no namespaces of its user's: the command line enters them, an engine of Python's does not",
        hint="twinhull …, or as root",
    )


def insert_named(home: Home, instance: Instance) -> Instance:
    """Inside a transaction: add the row, under a free name if it has none."""
    if instance.name:
        instances.insert(home.db, instance)
        return instance
    for _ in range(NAME_TRIES):
        try:
            named = instance._replace(name=names.pick())
            instances.insert(home.db, named)
            return named
        except Conflict:
            continue
    named = instance._replace(name=instance.id[:12])
    instances.insert(home.db, named)
    return named


def make_directories(directory: str) -> None:
    """The directory of a workload with its writable layer."""
    for path in (directory, f"{directory}/upper", f"{directory}/work"):
        files.make_directory(path, 0o755 if path.endswith("/upper") else 0o700)


def run(home: Home, image: Image, request: Request, *, size: tuple[int, int] = (0, 0)) -> tuple[Instance, Sandbox]:
    """Create and start in one go; one transaction, one directory, no second look."""
    request = with_runtime(with_volumes(home, image, request))
    if request.publish_all:
        request = connectivity.with_exposed(request, image.config)
    instance = new_instance(home, image, request)
    connectivity.prepare(home, request)
    with spares.taken(home, request, native=executes(image.platform)) as spare:
        if spare:
            instance = instance._replace(id=spare.identity)
        return run_in(home, instance, image, request, size, spare)


def run_in(
    home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int], spare: Spare | None
) -> tuple[Instance, Sandbox]:
    """The rest of `run`, with a guest in waiting if there is one."""
    with new_directory(home, instance.id, spare):
        with transaction(home.db, durable=not request.remove):
            instance = insert_named(home, instance)
            endpoints, ports = connectivity.reserve(home, instance.id, request)
            instances.set_endpoints(home.db, instance.id, endpoints, ports)
        instance = instance._replace(endpoints=endpoints, ports=ports)
        home.config.mark("address", note=instance.endpoint.address if instance.endpoint else "")
        try:
            make_volumes(home, image, request)
            return instance, launch(home, instance, image, request, size, spare)
        except BaseException:
            if spare:
                let_go(spare, home.directory(instance.id))
            container.undo(home.config.launcher, home.directory(instance.id))  # a shim that was killed has not
            connectivity.disconnect(home, instance)
            if request.remove:
                discard(home, instance)
            else:
                keep_failed(home, instance)
            raise


def keep_failed(home: Home, instance: Instance) -> None:
    """A first start that failed leaves a created workload, as in Docker."""
    directory = home.directory(instance.id)
    make_directories(directory)
    files.publish(f"{directory}/created", b"")
    with transaction(home.db):
        instances.clear_started(home.db, instance.id)
    for name in ("undo", "exit"):
        files.remove_file(f"{directory}/{name}")
    files.remove_file(f"{home.config.run}/exited/{instance.id}")


def launch(
    home: Home,
    instance: Instance,
    image: Image,
    request: Request,
    size: tuple[int, int],
    spare: Spare | None = None,
) -> Sandbox:
    """Steps 3 to 7, once more from the beginning where a saved guest does not start. The instance's lock is held."""
    saved: list[Origin] = [spare] if spare else []
    saved += ["template"] if home.config.vm_template and not request.boots else []
    while saved:
        origin = saved.pop(0)
        try:
            return attempt(home, instance, image, request, size, origin)
        except TemplateFailed as error:
            saved[:0] = [origin] if error.once_more else []
            following = "starting from the template" if saved else "booting"
            home.notice(f"{error.message}; {following} instead")
        instance = reconnect(home, instance, request)
    try:
        return attempt(home, instance, image, request, size, "cold")
    except BaseException:
        connectivity.disconnect(home, instance)
        raise


def reconnect(home: Home, instance: Instance, request: Request) -> Instance:
    """Forget a failed attempt. A link of its may still be there: the kernel takes it away late, so the next has
    another name."""
    files.remove_file(f"{home.directory(instance.id)}/exit")
    files.remove_file(f"{home.config.run}/exited/{instance.id}")
    connectivity.disconnect(home, instance)
    with transaction(home.db):
        endpoints, ports = connectivity.reserve(home, instance.id, request)
        instances.set_endpoints(home.db, instance.id, endpoints, ports)
    return instance._replace(endpoints=endpoints, ports=ports)


def attempt(
    home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int], origin: Origin
) -> Sandbox:
    """Bundle, shim, start mark, exec."""
    bundle = make_bundle(home, instance, image, request, size)
    sandbox = undisturbed = None
    try:
        # Left before it runs: one that ends at once would take its names back while they are being published.
        with connectivity.announcing(home, instance, bundle.hostname):
            prepared = ready(home, instance, bundle, origin)
            sandbox = prepared.sandbox
        if instance.ports and is_rootless():
            from twinhull.engine import rootless

            rootless.publish(home, instance)
        home.config.mark("ready", note=instance.id)
        with transaction(home.db, durable=not instance.remove):
            instances.mark_started(home.db, instance.id, time.time(), boot_id(), prepared.accelerator)
        if request.health.test or "Healthcheck" in image.config:
            from twinhull.engine import health

            health.begin(home, instance, image, request, container.launcher_path(home.config.launcher))
        if request.restart:
            from twinhull.engine import policy

            undisturbed = policy.arm(home.config, instance.id, request.restart)
        sandbox.start()
        home.config.mark("started")
    except BaseException as error:
        if sandbox is not None:
            if undisturbed:
                undisturbed.disarm()
            sandbox.close()
            container.await_supervisor(home.directory(instance.id))  # it undoes what it did, and ends
            sandbox.reap()
            if undisturbed:
                undisturbed.restore()
        if isinstance(error, LaunchError):
            raise explain(home, instance, request, error) from error
        raise
    return sandbox


def explain(home: Home, instance: Instance, request: Request, error: LaunchError) -> TwinhullError:
    """What failed, in the words of whoever knows."""
    if is_rootless():
        from twinhull.engine import rootless

        if (own := rootless.explain(error)) is not None:
            return own
    if not request.runtime:
        return connectivity.explain(error)
    from twinhull.engine import external

    known = external.explain(error, external.runtime_of(home, instance, request))
    return connectivity.explain(error) if known is error and error.op not in external.STEPS else known


def ready(home: Home, instance: Instance, bundle: Bundle, origin: Origin) -> Prepared:
    """A workload that waits for the word to go; what a step of the launcher says is put into the user's words."""
    try:
        prepared = prepare(home, instance, bundle, origin)
    except LaunchError as error:
        raise explain(home, instance, bundle.request, error) from error
    prepared.sandbox.shim_pid = prepared.shim_pid
    return prepared


def prepare(home: Home, instance: Instance, bundle: Bundle, origin: Origin, *, still: bool = False) -> Prepared:
    """Hand the bundle to the runtime of its isolation.

    Args:
        still: it will not be started, only looked into.

    Raises:
        NoWall: code that is not trusted, and the isolation is no wall.
    """
    if bundle.request.walled and instance.isolation != "vm":
        raise NoWall("it is not trusted, and a container shares the host's kernel", hint="--isolation auto, or --vm")
    launcher = container.launcher_path(home.config.launcher)
    directory = home.directory(instance.id)
    flags = ["--exited", f"{home.config.run}/exited/{instance.id}", "--log-max", str(home.config.log_max_bytes)]
    if instance.remove:
        flags.append("--remove")
    if still:
        flags.append("--still")
    if instance.isolation == "vm":
        return prepare_vm(home, instance, bundle, tuple(flags), origin)
    home.config.mark("planned")
    if bundle.request.network == "host" and is_rootless():
        from twinhull.host.rootless import outside

        started = outside(lambda: container.prepare(launcher, directory, bundle.plan, flags=tuple(flags)))
    else:
        started = container.prepare(launcher, directory, bundle.plan, flags=tuple(flags))
    return started._replace(accelerator=bundle.accelerator) if bundle.accelerator else started


def prepare_vm(home: Home, instance: Instance, bundle: Bundle, flags: tuple[str, ...], origin: Origin) -> Prepared:
    """Start a guest for the bundle: image and scratch as disks, the plan performed inside."""
    from twinhull.runtime import scratch, vm
    from twinhull.store import disk

    directory, request = home.directory(instance.id), bundle.request
    writable = "" if instance.remove else f"{directory}/scratch"
    if writable:
        scratch.make_scratch(home.config, writable, journal=True)
    workload = vm.Workload(
        identity=instance.id,
        directory=directory,
        plan=bundle.plan,
        network_host=bundle.network.host,
        network_undo=bundle.network.undo,
        image=disk.ensure(home.config, home.db, bundle.image),
        scratch=writable,
        durable=not instance.remove,
        volumes=tuple(in_order(request.volumes)),
        memory_bytes=request.memory_bytes,
        cpus=request.cpus,
        cpu=cpu_limits(request),
        walled=request.walled,
        architecture=bundle.architecture,
    )
    return vm.start(home.config, workload, origin, flags=flags, progress=home.notice)
