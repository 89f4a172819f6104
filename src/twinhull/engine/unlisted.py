"""Workloads whose directory is here and whose row is not: the list was lost, or an older copy of it was put back.

Promise: nothing of them is touched until they are removed by id, with force: a list that is found again may know them.
"""

from __future__ import annotations

import os
import time

from twinhull.engine.state import is_frozen
from twinhull.errors import LaunchError, SupervisorLost
from twinhull.host import files, locks
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from twinhull.engine.state import Home
    from twinhull.runtime.sandbox import Sandbox

SETTLED_S = 60.0  # a directory changes while it is made or removed
SIGKILL = 9
SHOWN = 12  # characters of an id


def report(home: Home, unlisted: Collection[str]) -> None:
    """Say that there are such, of those directories that have no row."""
    found = [identity for identity in sorted(unlisted) if is_abandoned(home.directory(identity))]
    if found:
        said = f"{len(found)} here in no list: {' '.join(identity[:SHOWN] for identity in found)}"
        home.notice(f"workloads: {said} (twinhull rm --force ID ends and removes one)")


def is_abandoned(directory: str) -> bool:
    """True if nobody is making or removing it."""
    try:
        return not locks.is_held(f"{directory}/lock") and (
            locks.is_held(f"{directory}/alive") or time.time() - os.stat(directory).st_mtime > SETTLED_S
        )
    except FileNotFoundError:
        return False


def find(home: Home, word: str) -> str:
    """The id of such a workload that begins with a word of at least twelve characters; "" for none, or several."""
    directories = os.listdir(f"{home.config.state}/instances") if len(word) >= SHOWN else []
    found = [name for name in directories if name.startswith(word) and instances.get(home.db, name) is None]
    return found[0] if len(found) == 1 else ""


def remove(home: Home, identity: str) -> None:
    """End one, undo what was done for it, and delete its directory."""
    from twinhull.runtime import container, sandbox

    directory = home.directory(identity)
    with locks.locked(f"{directory}/lock"):
        try:
            conversation = sandbox.connect(directory)
        except SupervisorLost:
            pass  # nothing of it runs
        else:
            end(identity, conversation)
        container.await_supervisor(directory)
        container.undo(home.config.launcher, directory)
        files.remove_tree(directory)


def end(identity: str, conversation: Sandbox) -> None:
    """Kill all of it; what is paused meets the signal when it goes on."""
    try:
        conversation.signal(SIGKILL, everyone=True)
        if is_frozen(identity):
            conversation.freeze(frozen=False)
        conversation.wait()
    except (SupervisorLost, LaunchError):
        pass  # it has ended
    finally:
        conversation.close()
