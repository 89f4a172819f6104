"""An image's root as a directory of this host, for what runs it without us.

Promise: the layers below are never written to, and nothing stays mounted after the block. What a killed comparison
left is taken away by the next; nothing of this host can be reached through it, so that it may be deleted by anybody.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import ExitStack

from twinhull.compare.abandoned import mounted_below
from twinhull.compare.run import last_line
from twinhull.compare.subject import MeasurementFailed
from twinhull.host import spawn
from twinhull.host.facts import read
from twinhull.host.locks import is_held, locked
from twinhull.scopes import contextmanager
from twinhull.store import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.engine import Engine
    from twinhull.model import Image


PREFIX = "compare-"
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}


@contextmanager
def mounted_root(engine: Engine, image: Image, place: str) -> Iterator[str]:
    """Mount the image's layers below `place`, with the devices and the /proc that programs expect.

    The devices are nodes of their own: through a bind of the host's /dev, whoever deleted the directory of a killed
    comparison would delete the host's.

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
        for name, words in (
            ("dev", ("-t", "tmpfs", "-o", "mode=755,size=64k", "tmpfs")),
            ("proc", ("-t", "proc", "proc")),
        ):
            os.makedirs(f"{root}/{name}", exist_ok=True)
            mount(stack, f"{root}/{name}", "mount", *words, f"{root}/{name}")
        make_devices(f"{root}/dev")
        yield root


def make_devices(directory: str) -> None:
    """The nodes that every container has, and the links to a program's streams."""
    for name, minor in DEVICES.items():
        path = f"{directory}/{name}"
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(*minor))
        os.chmod(path, 0o666)
    for name, target in LINKS.items():
        os.symlink(target, f"{directory}/{name}")


@contextmanager
def own_place(state: str) -> Iterator[str]:
    """A directory for roots, held by a lock while it is used; those that nobody holds any more are taken away first."""
    with ExitStack() as stack:
        with locked(f"{state}/compare.lock"):
            sweep(state)
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=state))
            held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, held)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield place


def sweep(state: str) -> None:
    """Take away what comparisons left that were killed."""
    for name in os.listdir(state):
        path = f"{os.path.realpath(state)}/{name}"
        if not name.startswith(PREFIX) or not os.path.isdir(path) or is_held(path):
            continue
        for target in mounted_below(read("/proc/self/mountinfo"), path):
            spawn.run_tool(("umount", target))
        shutil.rmtree(path, ignore_errors=True)


def mount(stack: ExitStack, target: str, *words: str) -> None:
    """Mount, and unmount at the end of the stack."""
    done = spawn.run_tool(words)
    if done.returncode != 0:
        raise MeasurementFailed(f"the image's layers cannot be mounted: {last_line(done.stderr)}")
    stack.callback(spawn.run_tool, ("umount", target))
