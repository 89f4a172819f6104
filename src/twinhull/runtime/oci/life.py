"""start, kill, pause and delete: what happens to a container that is there. Imports nothing beyond json."""

from __future__ import annotations

import os
from _signal import SIGKILL, pidfd_send_signal  # type: ignore[import-not-found]  # has no stub; signal costs 3 ms
from fcntl import LOCK_EX, LOCK_NB, flock
from select import POLLERR, poll

from twinhull.errors import Conflict, LaunchError, NotFound, TwinhullError
from twinhull.host import files
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.launcher import undo
from twinhull.runtime.oci.record import Record
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILL_TRIES, KILL_PAUSE_MS = 1000, 10
FAILURE_BYTES = 512


@contextmanager
def locked(root: str, identity: str, *, wait: bool = True) -> Iterator[int]:
    """Hold a container's lock, and yield its descriptor; a container that is not there has none.

    Raises:
        NotFound: there is no such container.
        BlockingIOError: another has it, and `wait` is false.
    """
    try:
        fd = os.open(f"{records.directory(root, identity)}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        records.load(root, identity)
        raise
    try:
        flock(fd, LOCK_EX if wait else LOCK_EX | LOCK_NB)
        yield fd
    finally:
        os.close(fd)


def start(root: str, identity: str) -> None:
    """Let the process of a created container exec; returns when it has.

    Raises:
        Conflict: it is not in the created state.
        LaunchError: exec failed.
    """
    with locked(root, identity):
        record = records.load(root, identity)
        state = records.status(root, record)
        if state != "created":  # it may be on its way out still
            with hook_named(root, identity):
                tell_failure(records.directory(root, identity))
        if state != "created":
            already = "already " if state == "running" else ""
            raise Conflict(
                f"cannot start a container that is {already}{state}: {identity!r} is not in the created state"
            )
        if records.GUEST in record.marks:
            from twinhull.runtime.oci import guest

            guest.start(root, record)
        else:
            with hook_named(root, identity):
                release(records.directory(root, identity))
    tell_started(root, record)


def tell_started(root: str, record: Record) -> None:
    """Run the hooks after the start; one that fails ends the container."""
    if records.POSTSTART in record.marks:
        from twinhull.runtime.oci.hooks import run_hooks

        try:
            run_hooks(records.config(root, record.id), "poststart", records.document(root, record, "running"))
        except TwinhullError:
            send(record, SIGKILL)
            raise


def begin(root: str, identity: str, *, waits: bool) -> bool:
    """Start it, and have the caller's service manager told when it is ready: before this returns if it `waits`.

    Returns:
        True if that goes on beside us.

    Raises:
        As start does.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        start(root, identity)
        return False
    from twinhull.runtime.oci import notify

    socket = notify.listen(records.directory(root, identity))
    start(root, identity)
    if socket and not waits:
        from threading import Thread

        Thread(target=notify.pass_on, args=(socket, records.load(root, identity).pid), daemon=True).start()
    elif socket:
        notify.pass_on(socket, records.load(root, identity).pid)
    return socket is not None and not waits


@contextmanager
def hook_named(root: str, identity: str) -> Iterator[None]:
    """Let the error of a hook before the program begin with its field."""
    try:
        yield
    except LaunchError as error:
        from twinhull.runtime.oci.refusals import fields_named

        with fields_named(records.config(root, identity), of=("hooks.",)):
            raise error from None


def release(directory: str) -> None:
    """Write the byte that the process waits for, and wait until it has closed its end: by exec, or by its end.

    Raises:
        LaunchError: it left an error behind.
    """
    fifo = os.open(f"{directory}/exec.fifo", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(fifo, b"\0")
        closed = poll()
        closed.register(fifo, 0)
        while not any(event & POLLERR for _, event in closed.poll()):
            pass
        keep_failure(directory)
    finally:
        os.close(fifo)
    tell_failure(directory)
    os.unlink(f"{directory}/exec.fifo")


def keep_failure(directory: str) -> None:
    """Write into a file what kept the process from its exec: it is in the FIFO as long as that is open somewhere."""
    fifo = os.open(f"{directory}/exec.fifo", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        files.replace(f"{directory}/error", os.read(fifo, FAILURE_BYTES))
    except BlockingIOError:  # nothing: whoever could write is ourselves
        pass
    finally:
        os.close(fifo)


def tell_failure(directory: str) -> None:
    """Raise what kept a process from its exec, once: the FIFO says that nobody was told of it yet.

    Raises:
        LaunchError: it left an error behind.
    """
    try:
        said = files.read(f"{directory}/error").decode("utf-8", "replace")
    except FileNotFoundError:
        return
    if said and os.path.exists(f"{directory}/exec.fifo"):
        os.unlink(f"{directory}/exec.fifo")
        code, number, text = said.split(" ", 2)
        raise failure(int(code), int(number), text)


def failure(exit_code: int, number: int, text: str) -> LaunchError:
    """The error for what the launcher wrote."""
    from twinhull.runtime.sandbox import ERROR, launch_error

    return launch_error(ERROR.pack(0, number, exit_code) + text.encode())


def send(record: Record, number: int) -> bool:
    """Send a signal to the first process; False if it has ended."""
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return False
    try:
        if not records.is_alive(record):
            return False
        pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def kill(root: str, identity: str, number: int, *, everyone: bool = False) -> None:
    """Send a signal to a container's first process, or to all of them.

    Raises:
        Conflict: it does not run.
    """
    record = records.load(root, identity)
    state = records.status(root, record)
    if everyone and number != SIGKILL and records.GUEST in record.marks:
        from twinhull.runtime.oci import guest

        guest.signal_all(root, record, state, number)
    elif everyone or (state == "stopped" and number == SIGKILL and outlives(record)):
        send_all(record, number)
    elif state not in ("created", "running", "paused") or not send(record, number):
        raise Conflict("container not running")
    elif number == SIGKILL and records.SHARES_PIDS in record.marks:
        send_all(record, number)


def outlives(record: Record) -> bool:
    """True if its first process, in another's pid namespace, has left others of a container behind."""
    return records.SHARES_PIDS in record.marks and bool(processes(record))


def processes(record: Record) -> list[int]:
    """Pids of all processes of the container, also in cgroups below its own."""
    directory = record.unified or next((path for _, path in record.legacy), "")
    found: list[int] = []
    if not directory and records.is_alive(record):
        from twinhull.runtime.oci.rootless import kin

        return kin(record.pid, shares_pids=records.SHARES_PIDS in record.marks)
    for top, _, _ in os.walk(directory) if directory else ():
        try:
            found += map(int, files.read(f"{top}/cgroup.procs").split())
        except (FileNotFoundError, OSError):
            continue
    return sorted(found)


def send_all(record: Record, number: int) -> None:
    """Send a signal to every process; for SIGKILL v2 has one file that misses nobody."""
    if number == SIGKILL and record.unified:
        try:
            files.write_value(f"{record.unified}/cgroup.kill", b"1")
            return
        except FileNotFoundError:
            pass
    for pid in processes(record):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def delete(root: str, identity: str, *, force: bool = False, warn: Callable[[str], None]) -> None:
    """Remove a container and everything that was made for it.

    Raises:
        Conflict: it runs, and `force` was not said.
        NotFound: it does not exist, and `force` was not said.
    """
    try:
        with locked(root, identity):
            delete_locked(root, records.load(root, identity), force=force, warn=warn)
    except NotFound:
        if not force:
            raise


def delete_locked(root: str, record: Record, *, force: bool, warn: Callable[[str], None]) -> None:
    """The same of a container whose lock is held."""
    state = records.status(root, record) if record.pid else "stopped"  # who made it would have the lock
    if state not in ("stopped", "created") and not force:
        raise Conflict(f"cannot delete container {record.id} that is not stopped: {state}")
    if state != "stopped":
        if records.SHARES_PIDS in record.marks and not record.unified:
            send_all(record, SIGKILL)
        end(record)
    if records.GUEST in record.marks:
        from twinhull.runtime.oci import guest

        guest.clear(root, record)
    spare = bool(record.pid) and not {records.SHARES_PIDS, records.GUEST} & set(record.marks)
    take_away(root, record, warn, spare=spare)


def take_away(root: str, record: Record, warn: Callable[[str], None], *, spare: bool = False) -> None:
    """Undo what was made for a container, run the hooks of its end, and remove its directory; the lock is held."""
    directory = records.directory(root, record.id)
    undo(directory, spare=spare)
    stopped(root, record, warn)
    files.remove_tree(directory)


def end(record: Record) -> None:
    """Kill every process, and wait until the first has ended."""
    if record.pid and (pidfd := open_process(record)) >= 0:
        try:
            pidfd_send_signal(pidfd, SIGKILL)
            ended = poll()
            ended.register(pidfd, 1)
            thaw(record)
            ended.poll(KILL_TRIES * KILL_PAUSE_MS)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def open_process(record: Record) -> int:
    """Return a pidfd of the first process, -1 if it has ended."""
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return -1
    if records.is_alive(record):
        return pidfd
    os.close(pidfd)
    return -1


def stopped(root: str, record: Record, warn: Callable[[str], None]) -> None:
    """Run the hooks of the end; what fails is a warning. One that is not complete has no marks yet."""
    if record.pid and records.POSTSTOP not in record.marks:
        return
    try:
        spec = records.config(root, record.id)
    except FileNotFoundError:
        return
    for index, hook in enumerate((spec.get("hooks") or {}).get("poststop") or ()):
        from twinhull.runtime.oci.hooks import run_hook

        try:
            run_hook(hook, f"hooks.poststop[{index}]", records.document(root, record, "stopped"))
        except TwinhullError as error:
            warn(error.message)


def freeze(root: str, identity: str, *, frozen: bool) -> None:
    """Pause or resume a container.

    Raises:
        Conflict: it does not run, or is not paused.
    """
    with locked(root, identity):
        record = records.load(root, identity)
        if frozen:
            records.require(root, record, "running", "created", doing="pause")
        elif not records.is_frozen(record):
            raise Conflict(f"container {identity!r} is not paused")
        set_frozen(record, frozen=frozen)


def thaw(record: Record) -> None:
    """A killed process that is frozen in v1 ends only when it is not any more."""
    if records.is_frozen(record):
        set_frozen(record, frozen=False)


def set_frozen(record: Record, *, frozen: bool) -> None:
    """Freeze or thaw, and wait until the kernel says that it is so."""
    if record.unified:
        files.write_value(f"{record.unified}/cgroup.freeze", b"1" if frozen else b"0")
        wanted = f"frozen {int(frozen)}".encode()
        await_line(f"{record.unified}/cgroup.events", wanted)
    elif freezer := dict(record.legacy).get("freezer"):
        word = b"FROZEN" if frozen else b"THAWED"
        files.write_value(f"{freezer}/freezer.state", word)
        await_line(f"{freezer}/freezer.state", word)
    else:
        raise Conflict("no cgroup of this machine or of yours can freeze the container")


def await_line(path: str, wanted: bytes) -> None:
    """Return when a kernel file has a line."""
    for _ in range(KILL_TRIES):
        if wanted in files.read(path).splitlines():
            return
        poll().poll(KILL_PAUSE_MS)
    raise Conflict(f"{path} did not become {wanted.decode()!r}")
