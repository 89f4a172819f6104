"""What a comparison left when it was killed: a label of each instance names its process, which is no more.

Promise: what was not started by a comparison, or by one that runs, is never touched.
"""

from __future__ import annotations

import os

from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinhull.engine import Engine

LABEL = "twinhull.compare"


def label() -> tuple[str, str]:
    """What instances of this comparison are marked with."""
    return LABEL, str(os.getpid())


def is_abandoned(labels: Iterable[tuple[str, str]]) -> bool:
    """True for an instance of a comparison that runs no more."""
    return any(key == LABEL and not os.path.exists(f"/proc/{value}") for key, value in labels)


def remove_instances(engine: Engine) -> None:
    """Remove what killed comparisons have left, running or not."""
    for instance, _ in engine.ps(everything=True):
        if is_abandoned(instances.request_from(instance.request).labels):
            engine.remove(instance.id, force=True)
