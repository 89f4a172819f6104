"""Finish what another process left: the ended, the half-started and the lost.

Promise: after it, no row holds a name, an address or a port for something that is over, and no
kernel object of ours belongs to nothing.
"""

from __future__ import annotations

import os
import time

from twinhull.engine.spares import sweep
from twinhull.engine.state import Home, exit_record, write_exit
from twinhull.errors import Conflict
from twinhull.host import files, locks
from twinhull.model import ExitRecord, Instance
from twinhull.store import instances
from twinhull.store.db import DatabaseFull, transaction

SCAN_LIMIT = 64  # directories looked at on the way of another verb; `ps` looks at all
UNFINISHED_S = 60.0  # far longer than it takes to make three directories
# What may be large of a workload.
WRITTEN_TREES = ("upper", "work")
WRITTEN_FILES = ("scratch", "log", "log.1")
LOST = ExitRecord(137, 9, False, 0.0)


def reconcile(home: Home, *, everything: bool = False) -> None:
    """Look at what has ended and at what may have been left; act on both."""
    for identity in sorted(os.listdir(f"{home.config.run}/exited")):
        finish(home, identity)
    let_go_on(home)
    sweep(home)
    present = [name for name in os.listdir(f"{home.config.state}/instances") if not is_unfinished(home, name)]
    if not everything and len(present) > SCAN_LIMIT:
        import random

        present = random.sample(present, SCAN_LIMIT)
    for identity in present:
        examine(home, identity)
    if everything:
        compare_rows(home, set(present))


def let_go_on(home: Home) -> None:
    """Let virtual machines go on that were stopped by a command that was killed; of most states there are none."""
    try:
        marks = os.listdir(f"{home.config.run}/held")
    except FileNotFoundError:
        return
    for identity in marks:
        from twinhull.runtime import fork

        try:
            with locks.locked(f"{home.directory(identity)}/lock", wait=False):
                fork.let_go_on(home.config, identity)
        except Conflict:
            continue  # it is being copied now
        except FileNotFoundError:
            files.remove_file(f"{home.config.run}/held/{identity}")


def is_unfinished(home: Home, name: str) -> bool:
    """True for a directory that has not got its name yet; one whose maker is gone is removed."""
    if name[0] != ".":
        return False
    directory = home.directory(name)
    try:
        abandoned = time.time() - os.stat(directory).st_mtime > UNFINISHED_S
    except FileNotFoundError:
        return True
    if abandoned and not locks.is_held(f"{directory}/lock"):
        files.remove_tree(directory)
    return True


def compare_rows(home: Home, present: set[str]) -> None:
    """Drop a row whose directory never came, or whose directory --rm has taken; tell of directories without a row."""
    rows = {instance.id for instance in instances.everything(home.db)}
    for identity in rows - present:
        if not os.path.exists(home.directory(identity)):
            forget(home, identity)
    if present - rows:
        from twinhull.engine import unlisted

        unlisted.report(home, present - rows)


def finish(home: Home, identity: str) -> None:
    """The shim said this one has ended: release what its row holds, delete the row of --rm."""
    instance = instances.get(home.db, identity)
    if instance is not None:
        record = exit_record(home, identity)
        if instance.remove or record is not None:
            settle(home, instance)
    files.remove_file(f"{home.config.run}/exited/{identity}")


def settle(home: Home, instance: Instance) -> None:
    """Release address, ports and names of a workload that is over; forget it if it was --rm."""
    from twinhull.engine import connectivity

    if instance.remove:
        discard(home, instance)
    else:
        connectivity.disconnect(home, instance)


def discard(home: Home, instance: Instance) -> None:
    """Release and forget a workload that is over; on a full disk the room for that is its own files'."""
    from twinhull.engine import connectivity

    try:
        connectivity.disconnect(home, instance)
        forget(home, instance.id)
    except DatabaseFull:
        from twinhull.store import reserve

        for tree in WRITTEN_TREES:
            files.remove_tree(f"{home.directory(instance.id)}/{tree}")
        for file in WRITTEN_FILES:
            files.remove_file(f"{home.directory(instance.id)}/{file}")
        reserve.spend(home.config.state)
        connectivity.disconnect(home, instance)
        forget(home, instance.id)
        reserve.keep(home.config.state)
    if instance.remove:
        remove_volumes(home, instance)


def remove_volumes(home: Home, instance: Instance) -> None:
    """Delete the volumes of a workload that nobody named; without any, nothing is imported."""
    if '"volumes"' in instance.request:
        from twinhull.engine import volumes

        volumes.remove_anonymous(home, instance)


def forget(home: Home, identity: str) -> None:
    """Delete the row and the directory."""
    from twinhull.network import leases

    with transaction(home.db, durable=False):
        leases.release(home.db, identity)
        instances.delete(home.db, identity)
    files.remove_tree(home.directory(identity))


def examine(home: Home, identity: str) -> None:
    """One directory: nothing to do while its shim lives, or once it has undone everything."""
    directory = home.directory(identity)
    if not needs_help(directory):
        return
    try:
        with locks.locked(f"{directory}/lock", wait=False):
            rescue(home, identity)
    except (Conflict, FileNotFoundError):
        return  # another command is at work on it, or it is gone


def needs_help(directory: str) -> bool:
    """True if no shim lives, and there is an undo list (each shim removes its own at the end) or no record.

    Or a restart is to come, and nobody is left who waits for its time.
    """
    if locks.is_held(f"{directory}/alive"):
        return False
    left = os.path.exists(f"{directory}/undo") or not os.path.exists(f"{directory}/exit")
    return left or (os.path.exists(f"{directory}/restarts") and is_orphaned(directory))


def is_orphaned(directory: str) -> bool:
    """True if a restart is written down as one to come."""
    from twinhull.engine import policy

    return policy.read(directory).waiting


def rescue(home: Home, identity: str) -> None:
    """A directory without supervisor, and its lock is ours: what was it?"""
    directory = home.directory(identity)
    if not needs_help(directory):
        return
    from twinhull.runtime.container import undo

    undo(home.config.launcher, directory)
    if os.path.exists(f"{directory}/restarts"):
        from twinhull.engine import policy

        policy.take_back(directory)
    instance = instances.get(home.db, identity)
    if instance is None:
        files.remove_tree(directory)
    elif instance.started:
        if not instance.remove and exit_record(home, identity) is None:
            write_exit(home, identity, LOST._replace(finished=time.time()))
        settle(home, instance)
    else:
        abandon(home, instance)


def abandon(home: Home, instance: Instance) -> None:
    """A start that never got its mark: a created workload stays, one of `run` goes."""
    settle(home, instance._replace(remove=False))
    if not os.path.exists(f"{home.directory(instance.id)}/created"):
        forget(home, instance.id)
