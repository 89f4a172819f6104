"""Snapshots: running virtual machines written down, from which machines go on later.

Promise: nothing in a snapshot's files chooses how QEMU runs: that is the row's. A file that is not what the row says
is refused before anything is started.
"""

from __future__ import annotations

import os
import time

from twinhull.engine import connectivity, forking, images, life
from twinhull.engine.reconcile import reconcile
from twinhull.engine.state import Home
from twinhull.errors import Conflict, GuestError, InvalidRequest
from twinhull.host import files, locks
from twinhull.model import Instance
from twinhull.scopes import contextmanager
from twinhull.store import instances, snapshots
from twinhull.store.db import transaction
from twinhull.store.snapshots import Snapshot
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.plan.qemu import Machine
    from twinhull.runtime.fork import Times
    from twinhull.runtime.vm import Prerequisites

TAG_RULE = "letters, digits, '_', '.', '-'"


class Taken(NamedTuple):
    """A new snapshot, and how long the original stood still."""

    snapshot: Snapshot
    times: Times


def root_of(home: Home) -> str:
    """The directory of all of them."""
    return f"{home.config.state}/snapshots"


def take(home: Home, instance: Instance, tag: str) -> Taken:
    """Write a running virtual machine down; it goes on.

    Raises:
        UnsupportedSpec: it is nothing that can be copied.
        Conflict: it does not run, was not started from a template, or has such a snapshot.
        InvalidRequest: no tag.
    """
    life.require_root(home)
    reconcile(home)
    sweep(home)
    if not tag or not all(letter.isascii() and (letter.isalnum() or letter in "_.-") for letter in tag):
        raise InvalidRequest(f"invalid tag {tag!r}", hint=TAG_RULE)
    forking.check(home, instance)
    snapshots.check_free(home.db, instance.name, tag)
    identity = os.urandom(32).hex()
    with (
        images.unpruned(home),
        forking.staged(root_of(home), identity) as directory,
        forking.saving(home, instance, directory) as (saved, times),
    ):
        key, digest = template_of(home, instance, saved.memory)
        sums = {name: sum_of(home, f"{directory}/{name}") for name in sorted(os.listdir(directory))}
        size = sum(os.stat(f"{directory}/{name}").st_blocks for name in sums) * 512
        row = Snapshot(identity, instance.name, tag, time.time(), instance, key, digest, sums, size)
        publish(home, row, directory)
    return Taken(row, times)


def publish(home: Home, row: Snapshot, directory: str) -> None:
    """Sync, rename, row."""
    for name in row.sums:
        fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    files.sync_directory(directory)
    os.rename(directory, f"{root_of(home)}/{row.id}")
    files.sync_directory(root_of(home))
    try:
        with transaction(home.db):
            snapshots.insert(home.db, row)
    except BaseException:
        files.remove_tree(f"{root_of(home)}/{row.id}")
        raise


def template_of(home: Home, instance: Instance, memory: int) -> tuple[str, str]:
    """The name and the digest of the template that a machine began as.

    Raises:
        Conflict: it is gone, so the snapshot would be of no use.
    """
    from twinhull.runtime import template

    ready, machine = forking.surroundings(home, instance)
    found = template.find_template(home.config, ready.guest, machine)
    if found is None or template.digest(ready.guest.launcher, f"/proc/self/fd/{memory}") != found.digest:
        raise Conflict(f"the template that {instance.name} began as is gone", hint=f"twinhull restart {instance.name}")
    return found.key, found.digest


def sum_of(home: Home, path: str) -> str:
    """What a file is told by: a disk, which is sparse and may be large, by the digest of what it holds."""
    from twinhull.runtime import pages, template
    from twinhull.runtime.container import launcher_path

    if os.path.basename(path) == pages.DISK:
        return template.digest(launcher_path(home.config.launcher), path)
    from hashlib import file_digest

    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def restore(home: Home, reference: str, *, count: int = 1, name: str = "") -> tuple[Instance, ...]:
    """Start machines that go on from a snapshot, each with an identity of its own.

    Args:
        name: of the only one, or what the names of several begin with; "" picks some.

    Raises:
        NotFound: no such snapshot.
        Conflict: this host's QEMU, kernel or settings are not those any more, or a name is in use.
        GuestError: it is damaged.
    """
    life.require_root(home)
    reconcile(home)
    sweep(home)
    wanted = forking.copy_names(name, count)
    with images.unpruned(home), kept(home, reference) as row:
        return start_from(home, row, wanted)


@contextmanager
def kept(home: Home, reference: str) -> Iterator[Snapshot]:
    """Give a whole snapshot that nobody removes meanwhile.

    Raises:
        NotFound: there is none, or it is removed at this moment.
        GuestError: it is damaged.
    """
    directory = f"{root_of(home)}/{snapshots.find(home.db, reference).id}"
    if not os.path.isdir(directory):
        require_whole(home, snapshots.find(home.db, reference))
    with locks.locked(f"{directory}/lock", shared=True):
        row = snapshots.find(home.db, reference)  # who had the lock may have removed it
        require_whole(home, row)
        yield row


def start_from(home: Home, row: Snapshot, wanted: list[str]) -> tuple[Instance, ...]:
    """Start machines with these names from a snapshot."""
    from twinhull.runtime.pages import Saved

    original = row.instance
    image = images.of_instance(home, original)
    request = forking.request_of_copy(instances.request_from(original.request))
    connectivity.require(home, request)
    connectivity.prepare(home, request)
    memory, machine = foundation(home, row)
    try:
        saved = Saved(f"{root_of(home)}/{row.id}", memory, machine)
        rows = [forking.row_of_copy(original, request._replace(name=each)) for each in wanted]
        return forking.start_all(home, original, rows, image, saved, once=False)
    finally:
        os.close(memory)


def foundation(home: Home, row: Snapshot) -> tuple[int, Machine]:
    """Return the memory that a snapshot's pages go over, and the machine.

    Raises:
        Conflict: they are not what they were.
    """
    from twinhull.runtime import holder, template

    ready, machine = forking.surroundings(home, row.instance)
    found = template.find_template(home.config, ready.guest, machine)
    if template.template_key(ready.guest, machine) != row.template:
        raise changed(row, "it was taken with another QEMU, kernel, twinhull or other settings")
    if found is None or found.digest != row.template_digest:
        raise changed(row, "the template that it began as is gone")
    memory = holder.borrow_memory(home.config, ready.guest.launcher, found.key, found.memory, found.digest)
    if memory is None or not is_memory(ready, memory, row.template_digest):
        raise changed(row, "the template that it began as cannot be read")
    return memory, machine


def is_memory(ready: Prerequisites, memory: int, digest: str) -> bool:
    """True if a holder's memory is the one that is meant; if not, it is closed."""
    from twinhull.runtime import template

    if template.digest(ready.guest.launcher, f"/proc/self/fd/{memory}") == digest:
        return True
    os.close(memory)
    return False


def changed(row: Snapshot, reason: str) -> Conflict:
    """The error for a snapshot that nothing here can be started from."""
    return Conflict(f"{row.reference} cannot be restored: {reason}", hint=f"twinhull snapshot rm {row.reference}")


def require_whole(home: Home, row: Snapshot) -> None:
    """Refuse a snapshot whose files are not those that were written.

    Raises:
        GuestError: one is missing or another.
    """
    for name, expected in row.sums.items():
        try:
            same = sum_of(home, f"{root_of(home)}/{row.id}/{name}") == expected
        except (FileNotFoundError, GuestError):
            same = False
        if not same:
            raise GuestError(f"{row.reference} is damaged: {name}", hint=f"twinhull snapshot rm {row.reference}")


def everything(home: Home) -> list[Snapshot]:
    """Every snapshot, newest first."""
    sweep(home)
    return snapshots.everything(home.db)


def remove(home: Home, reference: str) -> None:
    """Delete a snapshot; machines that were restored from it go on.

    Raises:
        NotFound: no such snapshot.
        Conflict: it is being restored.
    """
    life.require_root(home)
    row = snapshots.find(home.db, reference)
    directory = f"{root_of(home)}/{row.id}"
    files.make_directory(directory)  # somebody may have removed it: the row goes all the same
    with locks.locked(f"{directory}/lock", wait=False, busy=f"{reference} is being restored"):
        with transaction(home.db):
            snapshots.delete(home.db, row.id)
        files.remove_tree(directory)


def sweep(home: Home) -> None:
    """Clear away what commands left that were killed: without a row, and without a maker that has its lock."""
    root = root_of(home)
    for name in os.listdir(root) if os.path.isdir(root) else ():
        # In this order: a maker that has let go of its lock has written the row.
        if not locks.is_held(f"{root}/.{name.lstrip('.')}/lock") and not snapshots.is_known(home.db, name):
            files.remove_tree(f"{root}/{name}")
