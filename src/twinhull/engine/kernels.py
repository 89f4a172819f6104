"""The guest's kernels as a user sees them: built on request, listed, chosen.

Promise: a kernel is chosen only after a guest has booted it here. Who builds holds a lock, so that a build
whose process is gone is seen to be over, however it ended.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.config import Config
from twinhull.engine.state import Home
from twinhull.errors import Conflict, GuestError, HostUnfit, InvalidRequest, NotFound, TwinhullError
from twinhull.host import facts, files, locks, memory
from twinhull.runtime import hypervisor, kernel, kernel_build
from twinhull.runtime.kernel import Kernel
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinhull.runtime.kernel_build import Source

DISTRIBUTION = "distribution"  # a word for `use`: the kernel that is taken where none is chosen
LOCK, RECORD, LOG = "build.lock", "build.json", "build.log"  # in <state>/kernels
BUILDER = "import sys; sys.path.insert(0, sys.argv[1]); from twinhull.engine.kernels import main; main(sys.argv[2])"
LOCK_FD = 3


class Listed(NamedTuple):
    """A kernel that is here. `used`: guests with its processor are booted with it from now on."""

    name: str
    release: str
    origin: str
    disk_bytes: int
    used: bool
    architecture: str


class Build(NamedTuple):
    """The build that runs, or the last one if it failed.

    Attributes:
        step: what is being done, or what went wrong.
        began: seconds since the epoch.
    """

    running: bool
    step: str
    began: float
    log: str


def root_of(config: Config) -> str:
    """Where kernels for this machine's processor are kept."""
    return f"{config.state}/kernels"


def roots(config: Config) -> dict[str, str]:
    """Where kernels are kept, by the processor that they are for; this machine's first."""
    here: str = facts.architecture()
    others: dict[str, str] = {name: f"{config.state}/kernels-{name}" for name in hypervisor.EMULATORS if name != here}
    return {here: root_of(config)} | others


def clear_left(config: Config) -> None:
    """Delete what a build that was killed has left, unless somebody builds."""
    root = root_of(config)
    if not os.path.lexists(kernel_build.work_of(root)):
        return
    try:
        with locks.locked(f"{root}/{LOCK}", wait=False):
            files.remove_tree(kernel_build.work_of(root))
    except Conflict:
        pass


def build(home: Home, *, jobs: int = 0) -> Kernel:
    """Build the kernel of our own configuration, see that guests boot it, and use it from now on.

    Args:
        jobs: how many compilers run at a time; 0 is one for each processor.

    Raises:
        Conflict: another command is building.
        HostUnfit: a tool, space or the source is missing, or the source does not take the configuration.
        GuestError: a guest does not boot it.
    """
    with started(home.config) as (source, _):
        return carry_out(home.config, source, jobs, home.notice)


def build_behind(home: Home, *, jobs: int = 0) -> int:
    """Do the same in a process of its own, whose number is returned; what is missing is said now."""
    import sys

    from twinhull.host.spawn import spawn

    if not sys.executable:
        raise HostUnfit("Python does not know its own program", hint="leave --background out")
    with started(home.config) as (source, lock):
        record(home.config, "starting", time.time())
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        work = jsontext.dumps([home.config._replace(trace="")._asdict(), list(source), jobs])
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        argv = ["twinhull-build", "-IS", "-c", BUILDER, package, work]
        return spawn(sys.executable, argv, {LOCK_FD: lock}, environment)


@contextmanager
def started(config: Config) -> Iterator[tuple[Source, int]]:
    """Give the source of a build and the descriptor of the lock that whoever builds holds."""
    source = kernel_build.find_source()
    root = root_of(config)
    files.make_directory(root)
    clear_left(config)  # it may be what there is no space for
    kernel_build.require_space(root)
    busy = "a kernel is being built"
    with locks.locked(f"{root}/{LOCK}", wait=False, busy=busy) as lock:
        yield source, lock


def main(text: str) -> None:
    """Build in a process of its own; its maker left the lock open, which is held until we end."""
    os.setsid()
    os.chdir("/")
    os.nice(kernel_build.BACKGROUND_NICE)
    os.set_inheritable(LOCK_FD, False)
    os.closerange(LOCK_FD + 1, os.sysconf("SC_OPEN_MAX"))
    values, source, jobs = jsontext.loads(text)
    values["insecure_registries"] = tuple(values["insecure_registries"])
    try:
        carry_out(Config(**values), kernel_build.Source(*source), jobs, lambda _: None)
    except (TwinhullError, OSError):
        pass  # the record says it


def carry_out(config: Config, source: Source, jobs: int, progress: Callable[[str], None]) -> Kernel:
    """Build, try and choose a kernel, with a record of how far it is."""
    root, began = root_of(config), time.time()

    def tell(step: str) -> None:
        record(config, step, began)
        progress(step[0].upper() + step[1:])

    try:
        made = kernel_build.build(root, source, f"{root}/{LOG}", jobs or os.cpu_count() or 1, tell)
        tell("trying it")
        prove(config, made)
    except BaseException as error:
        record(config, str(error) or type(error).__name__, began, failed=True)
        raise
    kernel.choose(root, source.kernel)
    files.remove_file(f"{root}/{RECORD}")
    return made


def prove(config: Config, made: Kernel) -> None:
    """Boot a guest with a kernel, under TCG: that runs everywhere.

    Raises:
        GuestError: it does not answer; the kernel is deleted.
    """
    from twinhull.runtime import guest, trial

    if problem := trial.boot(config, guest.find_guest(config, lambda _: None, kernel=made), "tcg"):
        files.remove_tree(made.directory)
        raise GuestError(f"a guest does not boot the new kernel: {problem}")


def record(config: Config, step: str, began: float, *, failed: bool = False) -> None:
    """Write down how far the build is."""
    value = {"step": step, "began": began, "failed": failed}
    path = f"{root_of(config)}/{RECORD}"
    files.write(f"{path}.new", jsontext.dumps(value).encode())
    os.rename(f"{path}.new", path)


def current_build(config: Config) -> Build | None:
    """Return the build that runs, or the last one if it did not end well; None if there is nothing to say."""
    root = root_of(config)
    try:
        value = jsontext.loads(files.read(f"{root}/{RECORD}"))
        running = locks.is_held(f"{root}/{LOCK}")
        step = value["step"] if running or value["failed"] else f"ended while {value['step']}"
        return Build(running, step, value["began"], f"{root}/{LOG}")
    except (FileNotFoundError, ValueError, KeyError):
        return None


def everything(config: Config) -> list[Listed]:
    """Return every kernel that is here, those for this machine's processor first."""
    found = []
    for architecture, root in roots(config).items():
        used = kernel.present(config) if root == root_of(config) else kernel.cached(root)
        for name in sorted(memory.listing(root)):
            if not name.startswith(".") and (row := kernel.load(f"{root}/{name}")):
                is_used = bool(used and used.directory == row.directory)
                size = memory.disk_bytes(row.directory)
                found.append(Listed(name, row.release, row.origin, size, is_used, architecture))
    return found


def use(home: Home, beginning: str) -> str:
    """Choose the kernel that guests are booted with from now on; return what is chosen.

    Args:
        beginning: of its name, or DISTRIBUTION.

    Raises:
        InvalidRequest: the configuration names one, or it is for another processor.
        NotFound: there is none of this name, or more than one.
    """
    from twinhull.engine import life

    life.require_root(home)
    config = home.config
    if config.vm_kernel:
        raise InvalidRequest(
            f"the configuration names a kernel: vm_kernel = {config.vm_kernel}", hint="remove vm_kernel from it"
        )
    root = root_of(config)
    if beginning == DISTRIBUTION:
        kernel.choose(root, "")
        return DISTRIBUTION
    found = named(config, beginning, facts.architecture())
    if found.architecture != facts.architecture():
        raise InvalidRequest(f"{found.name} is for guests of {found.architecture}, which boot the newest of theirs")
    kernel.choose(root, found.name)
    return found.name


def named(config: Config, beginning: str, architecture: str = "") -> Listed:
    """Return the one kernel whose name is, or begins with, this.

    Args:
        architecture: for this kind of processor if there is any.

    Raises:
        NotFound: there is none, or more than one.
    """
    rows = [row for row in everything(config) if beginning and row.name.startswith(beginning)]
    rows = [row for row in rows if row.architecture == architecture] or rows
    found = [row for row in rows if row.name == beginning] or rows
    if len(found) != 1:
        what = f"{len(found)} kernels begin with {beginning}" if found else f"no kernel {beginning}"
        raise NotFound(what, hint="twinhull vm kernel ls")
    return found[0]


def remove(home: Home, beginning: str) -> None:
    """Delete the one kernel whose name begins like that, with the templates that were made of it.

    Guests that run it go on: they have it in their memory. One for another processor is fetched
    again when it is wanted.

    Raises:
        NotFound: there is none, or more than one.
        Conflict: guests are booted with it from now on, or a snapshot goes on from one of its templates.
    """
    from twinhull.engine import life, templates
    from twinhull.store import snapshots

    life.require_root(home)
    clear_left(home.config)
    row = named(home.config, beginning)
    root = roots(home.config)[row.architecture]
    if row.used and root == root_of(home.config):
        raise Conflict(f"virtual machines boot {row.name}", hint=f"first {instead(home.config, row)}")
    directory = f"{root}/{row.name}"
    gone = kernel.load(directory)
    made = templates.of_kernel(home.config, gone.digest) if gone else []
    if kept := next((row for row in snapshots.everything(home.db) if row.template in made), None):
        raise Conflict(
            f"the snapshot {kept.reference} is of a guest of {row.name}", hint=f"twinhull snapshot rm {kept.reference}"
        )
    removed = f"{root}/.{row.name}.removed"
    files.remove_tree(removed)
    os.rename(directory, removed)  # whoever looks for a kernel now finds all of it, or nothing
    files.remove_tree(removed)
    for key in made:
        templates.remove(home, key)


def instead(config: Config, used: Listed) -> str:
    """What makes guests boot another kernel."""
    if config.vm_kernel:
        return "remove vm_kernel from the configuration"
    native = [row.name for row in everything(config) if row.architecture == used.architecture]
    other = next((name for name in native if name != used.name), "")
    is_chosen = kernel.chosen(root_of(config)) is not None
    return f"twinhull vm kernel use {DISTRIBUTION if is_chosen else other or '…, when there is another'}"
