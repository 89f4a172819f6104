"""--filter of ps: of one key any value will do, all keys must agree, as in Docker."""

from __future__ import annotations

from twinhull.engine import Engine, health, policy
from twinhull.engine.state import exit_record
from twinhull.errors import InvalidRequest
from twinhull.model import Instance, Request
from twinhull.oci.reference import parse
from twinhull.store.instances import request_from
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.model import Status

STATES = ("created", "running", "paused", "restarting", "exited", "lost")
CHOICES = {
    "status": STATES,
    "health": health.STATES,
    "isolation": ("container", "vm", "machine"),
    "restart-policy": policy.POLICIES,
}


class Row(NamedTuple):
    """What a filter looks at."""

    instance: Instance
    state: Status
    request: Request
    exit_code: int | None
    health: str


def choose(engine: Engine, filters: list[str], *, everything: bool) -> list[tuple[Instance, Status]]:
    """The workloads that agree with every filter. One for a status or an exit code sees those that do not run, too.

    Raises:
        InvalidRequest: no such filter, or no such value.
    """
    wanted = read(filters)
    hidden = everything or "status" in wanted or "exited" in wanted
    rows = [row_of(engine, *found) for found in engine.ps(everything=hidden)]
    return [(row.instance, row.state) for row in rows if agrees(row, wanted)]


def row_of(engine: Engine, instance: Instance, state: Status) -> Row:
    """Everything that is known of a workload without asking it."""
    record = exit_record(engine.home, instance.id) if state == "exited" else None
    found = health.read(engine.home.directory(instance.id)).status
    return Row(instance, state, request_from(instance.request), record.code if record else None, found)


def read(filters: list[str]) -> dict[str, list[str]]:
    """Values by key."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if key not in TESTS or not equals:
            raise InvalidRequest(f"--filter {text}: no such filter", hint=f"K=V with one of {', '.join(sorted(TESTS))}")
        if key in CHOICES and value not in CHOICES[key]:
            raise InvalidRequest(f"--filter {text}: no such {key}", hint=f"one of {', '.join(CHOICES[key])}")
        if key == "exited" and not value.isdecimal():
            raise InvalidRequest(f"--filter {text}: not an exit code", hint="--filter exited=0")
        wanted.setdefault(key, []).append(value)
    return wanted


def agrees(row: Row, wanted: dict[str, list[str]]) -> bool:
    """True if each key has a value that fits; every label must."""
    return all(
        (all if key == "label" else any)(TESTS[key](row, value) for value in values) for key, values in wanted.items()
    )


def has_label(row: Row, value: str) -> bool:
    """K or K=V."""
    key, equals, wanted = value.partition("=")
    found = dict(row.request.labels).get(key)
    return found is not None and (not equals or found == wanted)


def descends(row: Row, value: str) -> bool:
    """By the image's name, with or without its tag, or its digest."""
    digest = row.instance.image_digest
    if value and (digest == value or digest.removeprefix("sha256:").startswith(value.removeprefix("sha256:"))):
        return True
    try:
        return row.instance.image == value or parse(row.instance.image) == parse(value)
    except InvalidRequest:
        return False


TESTS: dict[str, Callable[[Row, str], bool]] = {
    "ancestor": descends,
    "exited": lambda row, value: row.exit_code == int(value),
    "health": lambda row, value: row.health == value,
    "id": lambda row, value: row.instance.id.startswith(value),
    "isolation": lambda row, value: row.instance.isolation == value,
    "label": has_label,
    "name": lambda row, value: value in row.instance.name,
    "restart-policy": lambda row, value: (row.request.restart or "no").partition(":")[0] == value,
    "status": lambda row, value: row.state == value,
}
