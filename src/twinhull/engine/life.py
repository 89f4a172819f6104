"""The life of a workload, from the request to the exec: architecture.md has it on one page.

Promise: whatever dies at whatever line, the next command can tell what was meant and finish it.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.engine import connectivity, names
from twinhull.engine.reconcile import forget, settle
from twinhull.engine.state import Home, status
from twinhull.errors import Conflict, HostUnfit, InvalidRequest, LaunchError, TemplateFailed
from twinhull.host import files, locks
from twinhull.host.facts import boot_id, read_facts
from twinhull.host.seccomp import default_filter
from twinhull.model import Image, Instance, Request
from twinhull.oci.spec import Identity, make_spec
from twinhull.plan.compile import STDIN_CLIENT, STDIN_NONE, STDIN_OPEN, Network, Root, compile_plan
from twinhull.plan.ops import Plan
from twinhull.runtime import container
from twinhull.runtime.container import Prepared
from twinhull.runtime.sandbox import Sandbox
from twinhull.scopes import contextmanager
from twinhull.store import instances
from twinhull.store.db import transaction
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAME_TRIES = 20


class Bundle(NamedTuple):
    """What a runtime needs of one start: the plan, and what it was made from."""

    plan: Plan
    image: Image
    request: Request
    hostname: str
    network: Network


def create(home: Home, image: Image, request: Request) -> Instance:
    """Write down a workload without starting it.

    Raises:
        Conflict: the name is in use.
    """
    instance = new_instance(home, image, request)
    with new_directory(home, instance.id) as directory:
        with transaction(home.db):
            instance = insert_named(home, instance)
        files.publish(f"{directory}/created", b"")
    return instance


@contextmanager
def new_directory(home: Home, identity: str) -> Iterator[str]:
    """Make the directory of a new workload and hold its lock; it is gone again if the block raises.

    It gets its name when it is whole and locked: a reconcile that finds it before would take it for a leftover.
    """
    directory, early = home.directory(identity), home.directory(f".{identity}")
    make_directories(early)
    with locks.locked(f"{early}/lock"):
        os.rename(early, directory)
        try:
            yield directory
        except BaseException:
            if instances.get(home.db, identity) is None:
                files.remove_tree(directory)
            raise


def new_instance(home: Home, image: Image, request: Request) -> Instance:
    """The row for a request, checked as far as it can be without effects."""
    require_root(home)
    connectivity.check(request)
    if request.name and not names.is_valid(request.name):
        raise InvalidRequest(
            f"invalid name {request.name!r}", hint="letters, digits, '_', '.', '-'; two at least; the first no sign"
        )
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
        endpoint=None,
        ports=(),
        remove=request.remove,
    )


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
    return doctor.refusal(facts) or HostUnfit("running workloads needs root", hint="sudo twinhull …")


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
    instance = new_instance(home, image, request)
    connectivity.prepare(home, request)
    with new_directory(home, instance.id):
        with transaction(home.db, durable=not request.remove):
            instance = insert_named(home, instance)
            endpoint, ports = connectivity.reserve(home, instance.id, request)
            instances.set_endpoint(home.db, instance.id, endpoint, ports)
        instance = instance._replace(endpoint=endpoint, ports=ports)
        try:
            return instance, launch(home, instance, image, request, size)
        except BaseException:
            container.undo(home.config.launcher, home.directory(instance.id))  # a shim that was killed has not
            connectivity.disconnect(home, instance)
            if request.remove:
                forget(home, instance.id)
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


def start(
    home: Home, instance: Instance, image: Image, *, size: tuple[int, int] = (0, 0), stdin: bool = False
) -> Sandbox:
    """Start a workload that is created, exited or lost.

    Args:
        stdin: the caller feeds it.

    Raises:
        Conflict: it is running.
    """
    directory = home.directory(instance.id)
    request = instances.request_from(instance.request)._replace(stdin_open=not stdin)
    with locks.locked(f"{directory}/lock", wait=False, busy=f"{instance.name} is being started or stopped"):
        state = status(home, instance)
        if state in ("running", "paused"):
            raise Conflict(f"{instance.name} is {state}", hint=f"twinhull restart {instance.name}")
        settle(home, instance._replace(remove=False))
        make_directories(directory)
        connectivity.prepare(home, request)
        with transaction(home.db):
            endpoint, ports = connectivity.reserve(home, instance.id, request)
            instances.set_endpoint(home.db, instance.id, endpoint, ports)
        files.remove_file(f"{home.config.run}/exited/{instance.id}")
        instance = instance._replace(endpoint=endpoint, ports=ports)
        previous = read_or_nothing(f"{directory}/exit")
        files.remove_file(f"{directory}/exit")
        try:
            return launch(home, instance, image, request, size)
        except BaseException:
            container.undo(home.config.launcher, directory)
            connectivity.disconnect(home, instance)
            restore_record(home, instance, previous)
            raise


def read_or_nothing(path: str) -> bytes:
    """Return a file's content, nothing if it is not there."""
    try:
        return files.read(path)
    except FileNotFoundError:
        return b""


def restore_record(home: Home, instance: Instance, record: bytes) -> None:
    """A start that failed leaves the workload as it was."""
    if record:
        files.publish(f"{home.directory(instance.id)}/exit", record)
    else:
        keep_failed(home, instance)


def launch(home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int]) -> Sandbox:
    """Steps 3 to 7, once more from the beginning where a template does not start. The instance's lock is held."""
    try:
        return attempt(home, instance, image, request, size, cold=not home.config.vm_template)
    except TemplateFailed as error:
        home.notice(f"{error.message}; booting instead")
    # A link of the first attempt may still be there: the kernel takes it away late. The next has another name.
    connectivity.disconnect(home, instance)
    with transaction(home.db):
        endpoint, ports = connectivity.reserve(home, instance.id, request)
        instances.set_endpoint(home.db, instance.id, endpoint, ports)
    again = instance._replace(endpoint=endpoint, ports=ports)
    try:
        return attempt(home, again, image, request, size, cold=True)
    except BaseException:
        connectivity.disconnect(home, again)
        raise


def attempt(
    home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int], *, cold: bool
) -> Sandbox:
    """Bundle, shim, start mark, exec."""
    bundle = make_bundle(home, instance, image, request, size)
    sandbox = None
    try:
        # Left before it runs: one that ends at once would take its names back while they are being published.
        with connectivity.announcing(home, instance, bundle.hostname):
            sandbox = ready(home, instance, bundle, cold=cold)
        with transaction(home.db, durable=not instance.remove):
            instances.mark_started(home.db, instance.id, time.time(), boot_id())
        sandbox.start()
    except BaseException:
        if sandbox is not None:
            sandbox.close()
            sandbox.reap()  # it undoes what it did, and ends
        raise
    return sandbox


def ready(home: Home, instance: Instance, bundle: Bundle, *, cold: bool) -> Sandbox:
    """A workload that waits for the word to go; what a step of the launcher says is put into the user's words."""
    try:
        prepared = prepare(home, instance, bundle, cold=cold)
    except LaunchError as error:
        raise connectivity.explain(error) from error
    prepared.sandbox.shim_pid = prepared.shim_pid
    return prepared.sandbox


def prepare(home: Home, instance: Instance, bundle: Bundle, *, cold: bool) -> Prepared:
    """Hand the bundle to the runtime of its isolation."""
    launcher = container.launcher_path(home.config.launcher)
    directory = home.directory(instance.id)
    flags = ["--exited", f"{home.config.run}/exited/{instance.id}", "--log-max", str(home.config.log_max_bytes)]
    if instance.remove:
        flags.append("--remove")
    if instance.isolation == "vm":
        return prepare_vm(home, instance, bundle, tuple(flags), cold=cold)
    return container.prepare(launcher, directory, bundle.plan, flags=tuple(flags))


def prepare_vm(home: Home, instance: Instance, bundle: Bundle, flags: tuple[str, ...], *, cold: bool) -> Prepared:
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
        volumes=request.volumes,
        memory_bytes=request.memory_bytes,
        cpus=request.cpus,
    )
    return vm.start(home.config, workload, flags=flags, cold=cold, progress=home.notice)


def make_bundle(home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int]) -> Bundle:
    """Write config.json and the files under /etc; return the plan."""
    directory, guest = home.directory(instance.id), instance.isolation == "vm"
    facts = read_facts()
    hostname = request.hostname or (os.uname().nodename if request.network == "host" else instance.id[:12])
    etc = tuple(connectivity.etc_files(request, instance.endpoint, hostname))
    binds = () if guest else tuple(write_etc(directory, path, content) for path, content in etc)
    spec = make_spec(image, request, Identity(instance.id, hostname, binds), cpu_count=facts.cpu_count)
    if request.tty and any(size):
        spec["process"]["consoleSize"] = {"height": size[0], "width": size[1]}
    files.write(f"{directory}/config.json", jsontext.dumps(spec).encode())
    network = connectivity.plan(home.config, request, instance.endpoint, instance.ports)
    plan = compile_plan(
        spec,
        facts,
        guest_root(instance) if guest else layered_root(home, instance, image),
        network,
        place="guest" if guest else "host",
        seccomp=default_filter(home.config.state),
        stdin=stdin_mode(request),
        files=tuple((path, content.encode()) for path, content in etc) if guest else (),
    )
    return Bundle(plan, image, request, hostname, network)


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


def guest_root(instance: Instance) -> Root:
    """The image's disk under a scratch disk; what --rm throws away may lie in memory."""
    return Root("", "image", "tmpfs" if instance.remove else "disk", "", volatile=instance.remove)


def stdin_mode(request: Request) -> int:
    """-i ends with the client that feeds it, or waits for one; without -i there is nothing to read."""
    if not request.interactive:
        return STDIN_NONE
    return STDIN_OPEN if request.stdin_open else STDIN_CLIENT
