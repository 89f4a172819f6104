"""What is made behind a start's back for the next ones: an imprint, and the guests in waiting of a pool.

Promise: a start without one is a start from a template. One that was taken and not used is undone; one
whose holder or maker is gone is cleared away by the next command.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.config import Config
from twinhull.engine.state import Home
from twinhull.errors import Conflict, TwinhullError
from twinhull.host import files, locks
from twinhull.model import Request
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinhull.plan.qemu import Machine
    from twinhull.runtime.spare import Spare

MAKING_S, POLL_S = 30.0, 0.05
UNFINISHED_S = 60.0  # far longer than it takes to make three directories
MAKER = "import sys; sys.path.insert(0, sys.argv[1]); from twinhull.engine.rehearsing import main; main(sys.argv[2])"
LOCK_FD = 3


def is_eligible(config: Config, request: Request) -> bool:
    """True if a guest that knew nothing of the request can serve it.

    Volumes, processors, network cards and ports are made with the machine or by its shim; memory is the machine's size.
    """
    made_before = request.volumes or request.cpus or request.ports or request.cpu_shares or request.cpuset
    return is_rehearsable(config, request) and not made_before and len(request.networks) <= 1


def is_rehearsable(config: Config, request: Request) -> bool:
    """True if what the next start like this one needs can be made behind its back."""
    wanted = config.vm_template and not request.boots and request.isolation == "vm"
    return wanted and (config.vm_spare or has_pool(config)) and is_ordinary()


def has_pool(config: Config) -> bool:
    """True if a user wants guests to wait."""
    from twinhull.runtime import pool

    return pool.read(config).size > 0


@contextmanager
def taken(home: Home, request: Request, *, native: bool = True) -> Iterator[Spare | None]:
    """Give the guest in waiting that serves a request, or None.

    If the block raises, the guest is let go of; if not, the next one is made behind the caller's back.

    Args:
        native: the image is for this machine's processor, which is that of every guest in waiting.
    """
    rehearsable = native and is_rehearsable(home.config, request)
    wanted = machine_of(home.config, request, home.notice) if rehearsable else None
    if wanted is None:
        yield None
        return
    from twinhull.runtime import spare

    machine, key = wanted
    found = spare.take(home.config, key) if is_eligible(home.config, request) else None
    try:
        yield found
    except BaseException as error:
        if found:
            found.conversation.close()
        if isinstance(error, TwinhullError):  # it has used up a guest all the same
            have_made(home, machine, key)
        raise
    finally:
        if found:
            spare.release(found)
    have_made(home, machine, key)


def have_made(home: Home, machine: Machine, key: str) -> None:
    """Have made what the next start wants, unless that is there, or being made; this one has what it wanted already."""
    from twinhull.runtime import spare

    if not is_lacking(home.config, machine, key):
        return
    try:
        with locks.locked(spare.lock_path(home.config, key), wait=False) as lock:
            home.children.extend(spawn_maker(home.config, machine, lock))
    except (Conflict, OSError):
        pass


def refill(home: Home, request: Request, *, native: bool) -> None:
    """Have the pool filled behind a start that takes no guest of it; without a pool do nothing.

    Args:
        native: as for `taken`.
    """
    if not (native and has_pool(home.config) and is_rehearsable(home.config, request)):
        return
    if wanted := machine_of(home.config, request, home.notice):
        have_made(home, *wanted)


def is_lacking(config: Config, machine: Machine, key: str) -> bool:
    """True if a template's holder has no imprint, or fewer guests in waiting than are wanted."""
    from twinhull.runtime import holder, pool

    waiting, imprinted = holder.stock(config, key)
    imprints = machine.accelerator == "tcg"
    if imprints and not imprinted and not os.path.exists(refusal_path(config, key)):
        return True
    return pool.serves(machine._asdict()) and waiting < max(pool.read(config).size, least(imprinted=imprinted))


def least(*, imprinted: bool) -> int:
    """How many guests wait where no pool is wanted: one, unless starts go on from an imprint."""
    return 0 if imprinted else 1


def refusal_path(config: Config, key: str) -> str:
    """Where it is written down why no imprint can be made of a template's guests, until its directory is gone."""
    from twinhull.runtime import holder

    return f"{holder.directory_of(config, key)}/no-imprint"


def is_ordinary() -> bool:
    """True if this process runs as any other does: a guest that it has made is the next command's, whoever calls that.

    A lower priority, fewer processors or a limit on files would be those of somebody else's workload.
    """
    from resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_FSIZE, getrlimit

    plain = os.sched_getscheduler(0) == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, 0) == 0
    limited = any(getrlimit(limit)[0] != RLIM_INFINITY for limit in (RLIMIT_AS, RLIMIT_FSIZE))
    return plain and not limited and os.sched_getaffinity(0) == os.sched_getaffinity(1)


def machine_of(config: Config, request: Request, progress: Callable[[str], None]) -> tuple[Machine, str] | None:
    """Return the machine that a request wants and its template's name.

    None under KVM, which translates nothing, unless a pool is wanted.
    """
    from twinhull.plan.jail import cards_for
    from twinhull.runtime import template, vm

    ready = vm.prepare(config, progress)
    if ready.accelerator.accelerator != "tcg" and not has_pool(config):
        return None
    shares, nics = bool(request.volumes), cards_for(len(request.networks))
    machine = vm.machine_for(config, ready, shares=shares, memory_bytes=request.memory_bytes, cpus=request.cpus)
    machine = machine._replace(nics=nics)
    return machine, template.template_key(ready.guest, machine)


def spawn_maker(config: Config, machine: Machine, lock: int) -> tuple[int, ...]:
    """Start a process that makes the next guest and holds the lock meanwhile; return its number.

    Without effect where Python does not know its own program.
    """
    import sys

    from twinhull.host.spawn import spawn

    if not sys.executable:
        return ()
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    argv = [
        "twinhull-spare",
        "-IS",
        "-c",
        MAKER,
        package,
        jsontext.dumps([config._replace(trace="")._asdict(), list(machine)]),
    ]
    environment = {"PATH": os.environ.get("PATH", os.defpath)}  # nothing of ours reaches the next workload's shim
    return (spawn(sys.executable, argv, {LOCK_FD: lock}, environment),)


def sweep(home: Home) -> None:
    """Clear away what has neither shim nor maker."""
    root = f"{home.config.state}/spares"
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return
    for name in names:
        if not locks.is_held(f"{root}/{name}/alive"):
            clear(home, f"{root}/{name}", young=name[0] == ".")


def clear(home: Home, directory: str, *, young: bool) -> None:
    """Undo and remove a guest without a shim, unless its maker or another command is at work on it.

    Args:
        young: its maker has not locked it yet, unless that is long ago.
    """
    from twinhull.runtime import jailed

    try:
        if young and time.time() - os.stat(directory).st_mtime < UNFINISHED_S:
            return
        with locks.locked(f"{directory}/lock", wait=False):
            jailed.clear(home.config.launcher, directory)
    except (Conflict, FileNotFoundError):
        pass


def await_one(config: Config) -> bool:
    """Return once nothing is being made: True if a guest waits, or a start goes on from an imprint."""
    from twinhull.runtime import spare

    deadline = time.monotonic() + MAKING_S
    while spare.is_being_made(config) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    root = f"{config.state}/spares"
    names = os.listdir(root) if os.path.isdir(root) else []
    return is_imprinted(config) or any(locks.is_held(f"{root}/{name}/alive") for name in names)


def is_imprinted(config: Config) -> bool:
    """True if a holder has the imprint of a guest, from which starts go on."""
    from twinhull.runtime import holder

    return config.vm_spare and any(holder.stock(config, key)[1] for key in holder.keys(config))


def await_made(config: Config) -> None:
    """Return once as many wait as are wanted, or as can be made."""
    from twinhull.runtime import spare

    while spare.is_being_made(config):
        time.sleep(POLL_S)


def await_none(config: Config) -> None:
    """Return once what waited is undone, or after a while."""
    deadline = time.monotonic() + MAKING_S
    root = f"{config.state}/spares"
    while time.monotonic() < deadline:
        names = os.listdir(root) if os.path.isdir(root) else []
        if not any(locks.is_held(f"{root}/{name}/alive") for name in names):
            return
        time.sleep(POLL_S)


def let_go(config: Config) -> None:
    """Undo every guest that waits."""
    from twinhull.runtime import holder, spare

    await_one(config)
    for key in holder.keys(config):
        while found := spare.take(config, key):
            spare.release(found)
            dismiss(config, found)


def dismiss(config: Config, spare: Spare) -> None:
    """Undo a guest that nobody keeps."""
    from twinhull.runtime import jailed
    from twinhull.runtime.container import launcher_path

    jailed.end(jailed.Started(spare.conversation, 0, spare.directory, launcher_path(config.launcher)))
    files.remove_tree(spare.directory)
