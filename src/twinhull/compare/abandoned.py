"""What a comparison left when it was killed: a label or a name of each thing names its process, which is no more.

Promise: what was not started by a comparison, or by one that runs, is never touched.
"""

from __future__ import annotations

import os

from twinhull.host import spawn
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinhull.compare.clients import Client
    from twinhull.engine import Engine

LABEL = "twinhull.compare"
IMAGE = "localhost/twinhull-compare"  # in another engine, tagged with the process
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


def remove_instances(engine: Engine) -> None:
    """Remove what killed comparisons have left, running or not."""
    for instance, _ in engine.ps(everything=True):
        if is_abandoned(instances.request_from(instance.request).labels):
            engine.remove(instance.id, force=True)
