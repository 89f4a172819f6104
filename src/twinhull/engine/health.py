"""Health checks: a small process beside the shim asks, this reads what it has found. docs/decisions/health.md.

Promise: a workload without a check costs nothing more, in time or memory.
"""

from __future__ import annotations

import os

from twinhull.engine.state import Home
from twinhull.errors import InvalidRequest
from twinhull.host import files
from twinhull.host.spawn import DIRECTORY_FD, PLAN_FD, memory_file, spawn
from twinhull.model import Health, Image, Instance, Request
from twinhull.oci.health import check_of
from twinhull.store import instances
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.engine.engine import Result

STATES = ("starting", "healthy", "unhealthy", "none")


class Check(NamedTuple):
    """One check that was made. Times in seconds since the epoch; the code is -1 if it took too long."""

    began: float
    ended: float
    code: int
    output: str


class Found(NamedTuple):
    """How a workload is: one of STATES, failures since the last success, the last checks."""

    status: str
    streak: int
    checks: tuple[Check, ...]


NONE = Found("none", 0, ())


def begin(home: Home, instance: Instance, image: Image, request: Request, launcher: str) -> None:
    """Have a workload that is about to run asked from now on; nothing happens if it has no check."""
    check = check_of(request, image.config)
    if check is None:
        return
    from twinhull.engine.execute import ExecRequest, exec_plan

    directory = home.directory(instance.id)
    files.write(f"{directory}/health", b"starting 0\n")
    plan_fd = memory_file("check", exec_plan(home, instance, ExecRequest(check.test), (0, 0)))
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        argv = ["twinhull-health", "health", *map(str, check[1:])]
        home.children.append(spawn(launcher, argv, {PLAN_FD: plan_fd, DIRECTORY_FD: directory_fd}))
    finally:
        os.close(plan_fd)
        os.close(directory_fd)


def read(directory: str) -> Found:
    """What was found since the last start."""
    try:
        return parse(files.read(f"{directory}/health"))
    except FileNotFoundError:
        return NONE


def parse(content: bytes) -> Found:
    """What the launcher has written (launcher/health.c)."""
    head, _, rest = content.partition(b"\n")
    status, streak = head.decode().split()
    checks = []
    while rest:
        line, _, rest = rest.partition(b"\n")
        began, ended, code, length = line.split()
        size = int(length)
        checks.append(Check(float(began), float(ended), int(code), rest[:size].decode("utf-8", "replace")))
        rest = rest[size + 1 :]
    return Found(status, int(streak), tuple(checks))


def test(home: Home, instance: Instance, image: Image) -> Result:
    """Make the check once now, and return how it went.

    Raises:
        InvalidRequest: it has none.
    """
    from twinhull.engine.execute import STREAM, ExecRequest, execute
    from twinhull.engine.gather import collect

    check = configured(instance, image)
    if check is None:
        raise InvalidRequest(f"{instance.name} has no health check", hint="twinhull run --health-cmd …")
    return collect(execute(home, instance, ExecRequest(check.test)), STREAM, b"")


def configured(instance: Instance, image: Image) -> Health | None:
    """The check of a workload."""
    return check_of(instances.request_from(instance.request), image.config)
