"""Machines among the workloads: rows, directories, network and life are those of every other; a disk takes the place
of the image.
"""

from __future__ import annotations

import os
import time

from twinhull.engine import connectivity, life, names
from twinhull.engine.state import Home
from twinhull.errors import InvalidRequest
from twinhull.host import files
from twinhull.machine import boot, disk
from twinhull.model import Instance, Request
from twinhull.store import instances
from twinhull.store.db import transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.compile import Network
    from twinhull.plan.ops import Plan


def create(home: Home, path: str, request: Request) -> Instance:
    """Write down a machine with an empty disk of its own on top of the one at `path`, or on a Debian without one.

    Raises:
        HostUnfit: a Debian cannot be made here.
        NotFound, InvalidRequest: the disk is missing or cannot be used.
        Conflict: the name is in use.
    """
    request = request._replace(isolation="machine", image=request.image or path, tty=True, interactive=True)
    check(home, request)
    if not path:
        from twinhull.machine import debian

        path = debian.obtain(home.config, home.notice)
        request = request._replace(image=os.path.basename(path).rpartition("-")[0])
    request = request._replace(disk=disk.inspect(path))
    instance = new_instance(request)
    with life.new_directory(home, instance.id) as directory:
        assert request.disk is not None
        disk.make_overlay(request.disk, f"{directory}/{disk.OVERLAY}")
        with transaction(home.db):
            instance = life.insert_named(home, instance)
        files.publish(f"{directory}/created", b"")
    return instance


def check(home: Home, request: Request) -> None:
    """Refuse now what would fail after a disk was made.

    Raises:
        InvalidRequest, Conflict: it asks for what cannot be, or the name is in use.
    """
    connectivity.check(request)
    connectivity.require(home, request)
    boot.check_size(request)
    if request.name and not names.is_valid(request.name):
        raise InvalidRequest(f"invalid name {request.name!r}", hint=names.RULE)
    instances.check_free(home.db, request.name)


def new_instance(request: Request) -> Instance:
    """The row for a machine."""
    return Instance(
        id=os.urandom(32).hex(),
        name=request.name,
        image=request.image,
        image_digest="",
        isolation="machine",
        created=time.time(),
        command=(),
        request=instances.request_text(request),
        started=0.0,
        boot_id="",
        endpoints=(),
        ports=(),
        remove=False,
    )


def make_plan(
    home: Home, instance: Instance, request: Request, network: Network, size: tuple[int, int]
) -> tuple[Plan, str]:
    """The plan of one start, and what QEMU runs under.

    Raises:
        NotFound, Conflict: the disk is gone, or is not what it was.
    """
    assert request.disk is not None
    disk.check_unchanged(request.disk, instance.name)
    mac = {"mac": instance.endpoint.mac} if instance.endpoint else {}
    return boot.make_plan(home.config, instance.id, request, network, size=size, progress=home.notice, **mac)
