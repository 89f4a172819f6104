"""An image's root as a directory of this host, for what runs it without us.

Promise: the layers below are never written to, and nothing stays mounted after the block.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from twinhull.compare.run import last_line
from twinhull.compare.subject import MeasurementFailed
from twinhull.host import spawn
from twinhull.scopes import contextmanager
from twinhull.store import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.engine import Engine
    from twinhull.model import Image


@contextmanager
def mounted_root(engine: Engine, image: Image, place: str) -> Iterator[str]:
    """Mount the image's layers below `place`, with the host's /dev and /proc, which programs expect.

    Raises:
        MeasurementFailed: they cannot be mounted here.
    """
    layers, lower = snapshot.lower(engine.config, engine.home.db, image)
    root, upper, work = (f"{place}/{name}" for name in ("root", "upper", "work"))
    for path in (place, root, upper, work):
        os.mkdir(path)
    with ExitStack() as stack:
        # From the directory of the layers: so their names are short enough for one page of options.
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount(stack, root, "env", "-C", layers, "mount", "-t", "overlay", "-o", options, "overlay", root)
        for name, words in (("dev", ("--bind", "/dev")), ("proc", ("-t", "proc", "proc"))):
            os.makedirs(f"{root}/{name}", exist_ok=True)
            mount(stack, f"{root}/{name}", "mount", *words, f"{root}/{name}")
        yield root


def mount(stack: ExitStack, target: str, *words: str) -> None:
    """Mount, and unmount at the end of the stack."""
    done = spawn.run_tool(words)
    if done.returncode != 0:
        raise MeasurementFailed(f"the image's layers cannot be mounted: {last_line(done.stderr)}")
    stack.callback(spawn.run_tool, ("umount", target))
