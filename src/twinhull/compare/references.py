"""Which references there are on this machine: Docker, Podman, crun, and the program without any engine.

Promise: an engine that is here is used as it is found, none is started; the image gets to it under a name
of this comparison's own, which is removed afterwards with what only it needed.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack

from twinhull.compare import abandoned, clients
from twinhull.compare.clients import Client
from twinhull.compare.reference import MEMORY_BYTES, Engined, Plain, Reference, Runtime, process_of
from twinhull.compare.root import mounted_root, own_place
from twinhull.compare.run import last_line
from twinhull.compare.subject import MeasurementFailed
from twinhull.config import Config
from twinhull.engine import Engine
from twinhull.host import spawn
from twinhull.scopes import contextmanager
from twinhull.store import archive, images, removal
from twinhull.store.db import transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from twinhull.model import Image

    Opener = Callable[[Engine, Image, str], AbstractContextManager[Reference]]

NAMES = ("docker", "podman", "crun", "plain")
LOAD_S = "300"


@contextmanager
def opened(config: Config, reference: str, wanted: Sequence[str]) -> Iterator[tuple[list[Reference], dict[str, str]]]:
    """Give the references that can be used, and why the others cannot; all is undone after the block."""
    found: list[Reference] = []
    gaps: dict[str, str] = {}
    with ExitStack() as stack:
        place = stack.enter_context(own_place(config.state))
        engine = stack.enter_context(Engine(config))
        image = engine.image(reference)
        for name in (name for name in NAMES if name in wanted):
            try:
                found.append(stack.enter_context(OPENERS[name](engine, image, f"{place}/{name}")))
            except MeasurementFailed as error:
                gaps[name] = error.message
        yield found, gaps


@contextmanager
def open_engine(client: Client, title: str, engine: Engine, image: Image, place: str) -> Iterator[Reference]:
    """Docker or Podman with the image loaded.

    Raises:
        MeasurementFailed: it is not here, or does not take the image.
    """
    if reason := clients.absence(client):
        raise MeasurementFailed(reason)
    os.mkdir(place)
    abandoned.remove_from(client)
    name = abandoned.image_name()
    save(engine, image, name, f"{place}/image.tar")
    done = spawn.run_tool(("timeout", LOAD_S, *client.call("load", "--input", f"{place}/image.tar")))
    os.unlink(f"{place}/image.tar")
    if done.returncode != 0:
        raise MeasurementFailed(f"it did not load the image: {last_line(done.stderr)}")
    try:
        yield Engined(client, name, title)
    finally:
        spawn.run_tool(client.call("rmi", "--force", name))


def save(engine: Engine, image: Image, name: str, path: str) -> None:
    """Write the image to a docker-archive under a name that is nobody's."""
    db = engine.home.db
    with transaction(db):
        images.set_tag(db, name, image.digest)
    try:
        archive.save(engine.config, db, name, path)
    finally:
        removal.remove(engine.config, db, name)


@contextmanager
def open_runtime(engine: Engine, image: Image, place: str) -> Iterator[Reference]:
    """Crun with the image's layers mounted.

    Raises:
        MeasurementFailed: it is not installed, or the layers cannot be mounted.
    """
    if not shutil.which("crun"):
        raise MeasurementFailed("not installed")
    with mounted_root(engine, image, place) as root:
        yield Runtime("crun", root, lambda command: process_of(image, command), place)


@contextmanager
def open_plain(engine: Engine, image: Image, place: str) -> Iterator[Reference]:
    """No engine, with the image's layers mounted.

    Raises:
        MeasurementFailed: the layers cannot be mounted, or the image has no command.
    """
    with mounted_root(engine, image, place) as root:
        yield Plain(root, lambda command: process_of(image, command))


def open_docker(engine: Engine, image: Image, place: str) -> AbstractContextManager[Reference]:
    """Docker as its client finds it."""
    flags = ("--memory", str(MEMORY_BYTES))
    return open_engine(clients.docker(flags=flags), "docker run", engine, image, place)


def open_podman(engine: Engine, image: Image, place: str) -> AbstractContextManager[Reference]:
    """Podman with the user's own storage."""
    flags = ("--memory", str(MEMORY_BYTES))
    return open_engine(clients.podman(flags=flags), "podman run, without a network", engine, image, place)


OPENERS: dict[str, Opener] = {"docker": open_docker, "podman": open_podman, "crun": open_runtime, "plain": open_plain}
