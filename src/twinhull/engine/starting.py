"""Starting what is written down already: by a user's word, or by its restart policy.

Promise: a start that fails leaves the workload as it was.
"""

from __future__ import annotations

import os

from twinhull.engine import connectivity
from twinhull.engine.life import keep_failed, launch, make_directories
from twinhull.engine.reconcile import settle
from twinhull.engine.state import Home, status
from twinhull.errors import Conflict, TwinhullError
from twinhull.host import files, locks
from twinhull.host.facts import executes
from twinhull.model import Image, Instance, Request
from twinhull.runtime import container
from twinhull.store import instances
from twinhull.store.db import transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.runtime.sandbox import Sandbox

LOCK_FD = 3  # launcher/restart.c


def start(
    home: Home, instance: Instance, image: Image, *, size: tuple[int, int] = (0, 0), stdin: bool = False
) -> Sandbox:
    """Start a workload that is created, exited or lost, or waits for its restart.

    Args:
        stdin: the caller feeds it.

    Raises:
        Conflict: it is running.
    """
    busy = f"{instance.name} is being started or stopped"
    with locks.locked(f"{home.directory(instance.id)}/lock", wait=False, busy=busy):
        instance = instances.find(home.db, instance.id)  # as whoever had the lock left it
        return start_by_word(home, instance, image, size=size, stdin=stdin)


def start_by_word(
    home: Home, instance: Instance, image: Image, *, size: tuple[int, int] = (0, 0), stdin: bool = False
) -> Sandbox:
    """Start a workload by a user's word, which begins its restart policy anew; the lock is held."""
    directory = home.directory(instance.id)
    request = instances.request_from(instance.request)._replace(stdin_open=not stdin)
    state = status(home, instance)
    if state in ("running", "paused"):
        verb = "unpause" if state == "paused" else "restart"
        raise Conflict(f"{instance.name} is {state}", hint=f"twinhull {verb} {instance.name}")
    if request.restart or os.path.exists(f"{directory}/restart"):
        from twinhull.engine import policy

        policy.take_back(directory)
        policy.begin(directory)
    return start_locked(home, instance, image, request, size)


def start_locked(
    home: Home, instance: Instance, image: Image, request: Request, size: tuple[int, int] = (0, 0)
) -> Sandbox:
    """Start a workload that does not run and whose lock is held.

    That it waited is over before it runs: it may end at once, and its new shim then writes what follows.
    """
    directory = home.directory(instance.id)
    settle(home, instance._replace(remove=False))
    make_directories(directory)
    connectivity.prepare(home, request)
    with transaction(home.db):
        endpoints, ports = connectivity.reserve(home, instance.id, request)
        instances.set_endpoints(home.db, instance.id, endpoints, ports)
    files.remove_file(f"{home.config.run}/exited/{instance.id}")
    instance = instance._replace(endpoints=endpoints, ports=ports)
    previous = read_or_nothing(f"{directory}/exit")
    files.remove_file(f"{directory}/exit")
    files.remove_file(f"{directory}/restart")  # written once it is about to run: a start that fails is no run
    if os.path.exists(f"{directory}/restarts"):
        from twinhull.engine import policy

        policy.save(directory, policy.read(directory)._replace(waiting=False, pid=0))
    try:
        sandbox = launch(home, instance, image, request, size)
    except BaseException:
        container.undo(home.config.launcher, directory)
        connectivity.disconnect(home, instance)
        restore_record(home, instance, previous)
        raise
    if instance.isolation == "vm":
        from twinhull.engine import spares

        spares.refill(home, request, native=executes(image.platform))
    return sandbox


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


# --- what a shim starts when the time has come, a process of its own


def main(settings: str, identity: str) -> None:
    """Start a workload again; its shim left us the lock, open and held."""
    from twinhull import jsontext
    from twinhull.config import restored
    from twinhull.engine import Engine

    os.set_inheritable(LOCK_FD, False)
    with Engine(restored(jsontext.loads(settings))) as engine:
        again(engine.home, identity)


def again(home: Home, identity: str) -> None:
    """Start it unless a user has said otherwise meanwhile; why it could not be is written down."""
    from twinhull.engine import images, policy

    directory = home.directory(identity)
    instance = instances.get(home.db, identity)
    if instance is None or not policy.read(directory).waiting or os.path.exists(f"{directory}/stopped"):
        return
    container.await_supervisor(directory)
    request = instances.request_from(instance.request)._replace(stdin_open=True)
    error = ""
    try:
        start_locked(home, instance, images.of_instance(home, instance), request).close()
    except (TwinhullError, OSError) as problem:
        error = str(problem)
    files.write(f"{directory}/restart.error", error.encode())
