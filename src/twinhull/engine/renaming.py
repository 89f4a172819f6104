"""Another name for a workload; others on its network find it by that from then on."""

from __future__ import annotations

from twinhull.engine import connectivity, names
from twinhull.engine.state import Home, status
from twinhull.errors import InvalidRequest
from twinhull.host import locks
from twinhull.model import Instance
from twinhull.store import instances
from twinhull.store.db import transaction


def rename(home: Home, instance: Instance, name: str) -> None:
    """Change the row, then what the network knows.

    Raises:
        InvalidRequest: no valid name, or the one it has.
        Conflict: another has it.
    """
    if not names.is_valid(name):
        raise InvalidRequest(f"invalid name {name!r}", hint=names.RULE)
    if name == instance.name:
        raise InvalidRequest(f"{name} is its name already")
    with locks.locked(f"{home.directory(instance.id)}/lock"):
        with transaction(home.db):
            instances.check_free(home.db, name)
            instances.rename(home.db, instance.id, name)
        renamed = instances.find(home.db, instance.id)
        request = instances.request_from(renamed.request)
        if status(home, renamed) in ("running", "paused"):
            hostname = request.hostname or (name if renamed.isolation == "machine" else renamed.id[:12])
            with connectivity.announcing(home, renamed, hostname):
                pass
