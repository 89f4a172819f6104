"""A workload on the other side of the wall: the same files, volumes, networks, address, ports and name; new processes.

Promise: until the row says otherwise it is what it was, and its writable layer is where it was; a kill at any moment
leaves one of the two whole.
"""

from __future__ import annotations

import os

from twinhull.engine import changes, control, images, isolation, life, preview, starting, still
from twinhull.engine.reconcile import finish
from twinhull.engine.state import Home
from twinhull.errors import Conflict, HostUnfit, InvalidRequest, NoWall, TwinhullError
from twinhull.host import files, locks, spawn
from twinhull.model import Attachment, Instance, Request
from twinhull.runtime import guest, scratch
from twinhull.store import instances
from twinhull.store.db import transaction
from twinhull.store.unpack import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from twinhull.runtime.sandbox import Sandbox

    Side = Literal["container", "vm"]

TITLES = {"container": "container", "vm": "virtual machine", "machine": "machine"}
OTHER: dict[Side, Side] = {"container": "vm", "vm": "container"}
GATHERED = "switching"  # the writable layer as files, on its way


def switch(
    home: Home, instance: Instance, side: Side, *, timeout_s: float | None = None, accept_weak_wall: bool = False
) -> bool:
    """Move a workload to the other side; what ran runs there again, from its beginning.

    What cannot start there is started again where it was.

    Returns: whether it ran, and was started again.

    Args:
        timeout_s: how long its process has to end, as for stop.
        accept_weak_wall: it may become a container though it is not trusted.

    Raises:
        InvalidRequest: it is there already, goes when it stops, or asks for what that side cannot give.
        NoWall: it is not trusted.
        Conflict: it ran, and could not be started there; or another command is at work on it.
    """
    busy = f"{instance.name} is being started, stopped, copied or switched"
    try:
        with locks.locked(f"{home.directory(instance.id)}/lock", wait=False, busy=busy):
            instance = instances.find(home.db, instance.id)  # as whoever had the lock left it
            request = checked(home, instance, side, accept_weak_wall=accept_weak_wall)
            return switch_locked(home, instance, request, side, timeout_s)
    except FileNotFoundError:
        instances.find(home.db, instance.id)  # it has been removed, and this says so
        raise


def switch_locked(home: Home, instance: Instance, request: Request, side: Side, timeout_s: float | None) -> bool:
    """Stop, move, start; back again if that fails. Nobody else is at work on it from the first step to the last."""
    if running := control.stop_locked(home, instance, timeout_s=timeout_s):
        finish(home, instance.id)
    try:
        move(home, instance, side, with_places(request, instance) if running else request)
        if running:
            start(home, instance.id, request)
    except (TwinhullError, OSError) as error:
        if not running:
            raise
        reason, hint = said(error)
        stays = return_to(home, instance, OTHER[side])
        raise Conflict(f"{instance.name} cannot be a {TITLES[side]}: {reason}; {stays}", hint=hint) from error
    left_behind(home.directory(instance.id), side)
    return running


def return_to(home: Home, instance: Instance, side: Side) -> str:
    """Start a workload where it was, after a move that failed at whatever step: its layer there is untouched.

    Returns: what it is now, in words.
    """
    request = instances.request_from(instance.request)
    with transaction(home.db):
        instances.set_side(home.db, instance.id, with_places(request, instance))
    left_behind(home.directory(instance.id), side)
    try:
        start(home, instance.id, request)
    except (TwinhullError, OSError) as error:
        return f"it is a {TITLES[side]} still, and could not be started again: {said(error)[0]}"
    return f"it is a {TITLES[side]} still, and runs, its processes started anew"


def said(error: TwinhullError | OSError) -> tuple[str, str]:
    """The message of an error and its hint."""
    return (error.message, error.hint) if isinstance(error, TwinhullError) else (error.strerror or str(error), "")


def checked(home: Home, instance: Instance, side: Side, *, accept_weak_wall: bool) -> Request:
    """The request as it is on that side, which has been planned without effects."""
    request = instances.request_from(instance.request)
    if instance.isolation == "machine":
        raise InvalidRequest(f"{instance.name} is a machine: it has no image that another side could run")
    if instance.isolation == side:
        raise InvalidRequest(f"{instance.name} is a {TITLES[side]} already")
    if instance.remove:
        raise InvalidRequest(
            f"{instance.name} was made with --rm: it goes with all it wrote when it stops",
            hint=f"twinhull commit {instance.name} IMAGE keeps its files",
        )
    if request.user_namespace:
        raise InvalidRequest(f"{instance.name} has a user namespace: its files have owners that only this side maps")
    if request.runtime:
        raise InvalidRequest(f"{instance.name} has a runtime of its own ({request.runtime}), which makes containers")
    request = request._replace(isolation=side)
    if request.untrusted and side == "container":  # what was accepted was another wall
        request = request._replace(accept_weak_wall=accept_weak_wall)
    if request.walled and side == "container":
        raise NoWall(f"{instance.name} is not trusted, and a container shares the host's kernel", hint=isolation.ACCEPT)
    isolation.check(request)
    image = images.of_instance(home, instance)
    life.new_instance(home, image, request)
    if side == "vm":
        guest.check_memory(request.memory_bytes)
    preview.plan_of(home, image, request)
    return request


def with_places(request: Request, instance: Instance) -> Request:
    """The request with the addresses and ports that it has now."""
    wanted = {attachment.network: attachment for attachment in request.networks}
    held = tuple(
        wanted.get(place.network, Attachment(place.network))._replace(address=place.address, address6=place.address6)
        for place in instance.endpoints
    )
    return request._replace(attachments=held, ports=instance.ports) if held else request


def move(home: Home, instance: Instance, side: Side, request: Request) -> None:
    """Bring a copy of the writable layer over, then the row."""
    directory = home.directory(instance.id)
    with still.prepared_locked(home, instance) as conversation:
        gather(home, instance, conversation, f"{directory}/{GATHERED}")
        place(directory, side)
        with transaction(home.db):
            instances.set_side(home.db, instance.id, request)


def gather(home: Home, instance: Instance, conversation: Sandbox, path: str) -> None:
    """Write what differs from the image as the writable layer of an overlay."""
    files.remove_tree(path)
    files.make_directory(path, 0o700)
    files.make_directory(f"{path}/upper", 0o755)
    rows = changes.different(home, instance, conversation, content=True)
    unpack(changes.layer_of(changes.kept(rows, changes.hidden(home, instance))), f"{path}/upper")


def place(directory: str, side: Side) -> None:
    """Put the gathered files where a start on that side looks for them, on the disk before anything relies on it."""
    gathered = f"{directory}/{GATHERED}"
    if side == "vm":
        scratch.format_disk(f"{directory}/scratch", journal=True, content=gathered)
        return
    for name in ("upper", "work"):
        files.remove_tree(f"{directory}/{name}")
    os.rename(f"{gathered}/upper", f"{directory}/upper")
    synced = spawn.run_tool(("sync", "--file-system", directory))
    if synced.returncode:
        raise HostUnfit(f"what it wrote cannot be synced: {synced.stderr.strip()}")


def left_behind(directory: str, side: Side) -> None:
    """Remove the writable layer of the other side, and what helped."""
    files.remove_tree(f"{directory}/{GATHERED}")
    if side == "container":
        files.remove_file(f"{directory}/scratch")
        return
    for name in ("upper", "work"):
        files.remove_tree(f"{directory}/{name}")


def start(home: Home, identity: str, request: Request) -> None:
    """Start it at the places that its row names now, and let later starts take any."""
    instance = instances.find(home.db, identity)
    try:
        starting.start_by_word(home, instance, images.of_instance(home, instance)).close()
    finally:
        with transaction(home.db):
            instances.set_request(home.db, identity, request)
