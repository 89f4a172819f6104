"""A workload that does not run, prepared so that its files can be read and written: its root as a start would have it.

Promise: nothing of the image runs, no network is made, and afterwards it is what it was: no start mark, no exit record.
"""

from __future__ import annotations

from twinhull.engine import images, life
from twinhull.engine.bundle import make_bundle
from twinhull.engine.state import Home, status
from twinhull.errors import Conflict, TemplateFailed
from twinhull.host import locks
from twinhull.model import Instance
from twinhull.runtime import container
from twinhull.runtime.container import Prepared
from twinhull.runtime.sandbox import Sandbox
from twinhull.scopes import contextmanager
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.runtime.vm import Origin


@contextmanager
def prepared(home: Home, instance: Instance) -> Iterator[Sandbox]:
    """The conversation with a supervisor that holds the workload's root and starts nothing.

    Raises:
        Conflict: it is being started, stopped or looked into.
    """
    directory = home.directory(instance.id)
    busy = f"{instance.name} is being started, stopped or copied from"
    with locks.locked(f"{directory}/lock", wait=False, busy=busy):
        instance = instances.find(home.db, instance.id)  # as whoever had the lock left it
        state = status(home, instance)
        if state in ("running", "paused"):
            raise Conflict(f"{instance.name} was started meanwhile", hint="try again")
        if state == "restarting":  # its supervisor is still there, and will start it
            raise Conflict(f"{instance.name} is restarting", hint=f"twinhull stop {instance.name}, or try again")
        with prepared_locked(home, instance) as conversation:
            yield conversation


@contextmanager
def prepared_locked(home: Home, instance: Instance) -> Iterator[Sandbox]:
    """The same for a workload that does not run and whose lock is held."""
    directory = home.directory(instance.id)
    life.make_directories(directory)
    ready = make(home, instance)
    try:
        yield ready.sandbox
    finally:
        ready.sandbox.close()
        container.await_supervisor(directory)
        ready.sandbox.shim_pid = ready.shim_pid
        ready.sandbox.reap()


def make(home: Home, instance: Instance) -> Prepared:
    """Perform the plan of a start without network, terminal and input, up to the word to go."""
    request = instances.request_from(instance.request)
    request = request._replace(network="none", ports=(), tty=False, interactive=False, runtime="")
    alone = instance._replace(endpoints=(), ports=())
    bundle = make_bundle(home, alone, images.of_instance(home, instance), request, (0, 0))
    saved: tuple[Origin, ...] = ("template",) if home.config.vm_template and not request.boots else ()
    for origin in saved:
        try:
            return life.prepare(home, alone, bundle, origin, still=True)
        except TemplateFailed as error:
            home.notice(f"{error.message}; booting instead")
    return life.prepare(home, alone, bundle, "cold", still=True)
