"""What a comparison or a proof left when it was killed: a label or a name of each thing names its process, which is
no more.

Promise: what was not started by one of them, or by one that runs, is never touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from twinhull.errors import NotFound, TwinhullError
from twinhull.host import spawn
from twinhull.host.facts import read
from twinhull.host.memory import listing
from twinhull.scopes import contextmanager
from twinhull.store import images, instances, removal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twinhull.compare.clients import Client
    from twinhull.engine import Engine

LABEL = "twinhull.compare"
IMAGE = "localhost/twinhull-compare"  # in another engine, tagged with the process
OWN_IMAGES = ("twinhull/probe", "twinhull/load")  # here, tagged with a digest and the process
SCRATCH = "twinhull-scratch-"  # a temporary directory: followed by the process and what it is for
LOADS = ".load-"  # a directory of the state's: followed by the process
NAMES = ".names"  # what a proof named, in a file of the state directory: its prefix, the process and this
CONTAINER = "twinhull-compare-"  # there, followed by the process, the engine and a number


def label() -> tuple[str, str]:
    """What instances of this comparison are marked with."""
    return LABEL, str(os.getpid())


def is_abandoned(labels: Iterable[tuple[str, str]]) -> bool:
    """True for an instance of a comparison that runs no more."""
    return any(key == LABEL and is_ended(value) for key, value in labels)


def is_ended(pid: str) -> bool:
    """True for the number of a process that is no more; False for what is no number."""
    return pid.isdecimal() and not os.path.exists(f"/proc/{pid}")


def image_name() -> str:
    """What another engine calls the image of this comparison."""
    return f"{IMAGE}:{os.getpid()}"


def container_prefix(engine: str) -> str:
    """What the names of this comparison's containers in another engine begin with."""
    return f"{CONTAINER}{os.getpid()}-{engine}"


def leavings(containers: Iterable[str], images: Iterable[str]) -> tuple[list[str], list[str]]:
    """Which names of another engine's containers and images ("NAME:TAG") are of comparisons that run no more."""
    return (
        [name for name in containers if is_ended(word_after(CONTAINER, name))],
        [name for name in images if is_ended(word_after(f"{IMAGE}:", name))],
    )


def word_after(prefix: str, name: str) -> str:
    """What a name has between a prefix and the next dash; nothing of another name."""
    return name.removeprefix(prefix).partition("-")[0] if name.startswith(prefix) else ""


def remove_from(client: Client) -> None:
    """Remove what killed comparisons have left in another engine."""
    asked = (
        ("ps", "--all", "--filter", f"name={CONTAINER}", "--format", "{{.Names}}"),
        ("images", "--filter", f"reference={IMAGE}", "--format", "{{.Repository}}:{{.Tag}}"),
    )
    listed = [spawn.run_tool(client.call(*words)).stdout.split() for words in asked]
    for words, names in zip((("rm", "--force"), ("rmi", "--force")), leavings(*listed), strict=True):
        if names:
            spawn.run_tool(client.call(*words, *names))


def remove_all(engine: Engine) -> None:
    """Remove what killed comparisons and proofs have left: workloads, running or not, images, directories."""
    for instance, _ in engine.ps(everything=True):
        if is_abandoned(instances.request_from(instance.request).labels):
            engine.remove(instance.id, force=True)
    for name in listing(engine.config.state):
        prefix, _, pid = name.removesuffix(NAMES).rpartition(".")
        if name.endswith(NAMES) and is_ended(pid):
            remove_named(engine, prefix, f"{engine.config.state}/{name}")
    for listed in images.everything(engine.home.db):
        if is_ended(process_of(listed.name)):
            remove_image(engine, listed.name)
    remove_directories(tempfile.gettempdir(), SCRATCH)
    remove_directories(engine.config.state, LOADS)


def process_of(image: str) -> str:
    """The process in the name of an image that a comparison made for itself; "" for any other name."""
    name, _, tag = image.removeprefix("docker.io/").rpartition(":")
    return tag if name == IMAGE else tag.rpartition("-")[2] if name in OWN_IMAGES and "-" in tag else ""


def remove_named(engine: Engine, prefix: str, path: str) -> None:
    """Remove the workloads and the image that a killed proof has named."""
    for name in read(path).split():
        try:
            engine.remove(name, force=True)
        except NotFound:
            pass  # it came to its end by itself, or never began
    remove_image(engine, moved_image(prefix))
    os.unlink(path)


def moved_image(prefix: str) -> str:
    """What a proof calls the image that it moves: no place can know the name but from the file."""
    return f"localhost/{prefix}:1"


def remove_image(engine: Engine, name: str) -> None:
    """Remove an image by name; none, or one that is in use, is fine."""
    try:
        removal.remove(engine.config, engine.home.db, name)
    except TwinhullError:
        pass


def mounted_below(mountinfo: str, directory: str) -> list[str]:
    """The mount points below a directory, the last one first: the fifth word of each line (proc(5))."""
    points = [line.split()[4] for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{directory}/")]


def remove_directories(parent: str, prefix: str) -> None:
    """Remove the directories of ours whose process is no more, with what is mounted below them."""
    for name in listing(parent):
        path = f"{os.path.realpath(parent)}/{name}"
        if is_ended(word_after(prefix, name)) and os.lstat(path).st_uid == os.geteuid() and not os.path.islink(path):
            for target in mounted_below(read("/proc/self/mountinfo"), path):
                spawn.run_tool(("umount", target))
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def scratch(title: str) -> Iterator[str]:
    """Give a temporary directory that the next comparison removes if this one is killed."""
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-{title}-") as place:
        yield place


class Register:
    """The names of a proof's workloads, in a file that tells the next one what is left if this one is killed."""

    def __init__(self, state: str, prefix: str) -> None:
        self.path = f"{state}/{prefix}.{os.getpid()}{NAMES}"

    def add(self, name: str) -> None:
        """Note a name before anything has it."""
        with open(self.path, "a", encoding="ascii") as file:
            file.write(f"{name}\n")

    def close(self) -> None:
        """Forget the names: nothing has them any more."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
