"""The namespaces of a user without root: made once, kept by a process of his, joined by each command.

Promise: in them he is root over what is his, and nothing more; the engine behind it is the one that root has.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, flock

from twinhull.config import Config
from twinhull.errors import HostUnfit
from twinhull.host import files, locks, spawn
from twinhull.host.facts import cgroup_mounts, read
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
WORD_FD, LOCK_FD, END_FD = 3, 4, 5  # launcher/keep.c
INSTALL_UIDMAP = "apt-get install -y uidmap"
FIRST_SUBORDINATE, SUBORDINATES = 100_000, 65_536


class Owner(NamedTuple):
    """Whose namespaces they are."""

    uid: int
    gid: int
    name: str


class Range(NamedTuple):
    """Numbers that subuid(5) or subgid(5) give to a user."""

    first: int
    size: int


class Outside:
    """A thread of ours that stays in the host's network: who has left that cannot go back."""

    def __init__(self) -> None:
        from _queue import SimpleQueue
        from _thread import allocate_lock, start_new_thread

        self.turn = allocate_lock()
        self.asked: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self.answered: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        start_new_thread(self.work, ())

    def work(self) -> None:
        """Do what is asked for, one after the other."""
        while True:
            act = self.asked.get()
            try:
                self.answered.put((act(), None))
            except BaseException as error:
                self.answered.put((None, error))

    def call(self, act: Callable[[], T]) -> T:
        """Return what it returns there, or raise what it raises."""
        with self.turn:
            self.asked.put(act)
            value, error = self.answered.get()
        if error is not None:
            raise error
        done: T = value
        return done


# One a process: a thread cannot be handed down through every call between a command and what it starts.
OUTSIDE: list[Outside] = []


def outside(act: Callable[[], T]) -> T:
    """Do something in the host's network: what it starts is there, too."""
    return OUTSIDE[0].call(act) if OUTSIDE else act()


def enter(config: Config, launcher: str) -> None:
    """Go into the user's namespaces for the rest of this process, which has one thread; make them if they are not.

    Raises:
        HostUnfit: something that they need is missing; the hint is the command that repairs it.
    """
    for directory in (config.state, config.run):
        files.make_own_directory(directory)
    path = f"{config.run}/keeper"
    remember_logins(config.run)
    if not join(path):
        with locks.locked(f"{path}.lock"):
            if not join(path) and not adopt(config, path, launcher):
                maps = read_maps(owner())
                start(path, launcher, covered(), lambda keeper: write_maps(keeper, maps))
                if not join(path):
                    raise HostUnfit("the process that keeps your namespaces was killed", hint="try again")


def is_outside_near() -> bool:
    """True for a command; False for what a shim of the user's has started, which never was in the host's network."""
    return bool(OUTSIDE)


def remember_logins(run: str) -> None:
    """Let skopeo find the user's logins where he has no XDG_RUNTIME_DIR: it would look for those of uid 0."""
    usual = f"/run/containers/{os.getuid()}/auth.json"
    if "XDG_RUNTIME_DIR" not in os.environ:
        os.environ["XDG_RUNTIME_DIR"] = run
        if os.path.exists(usual):
            os.environ.setdefault("REGISTRY_AUTH_FILE", usual)


def join(path: str) -> bool:
    """Enter the namespaces of the process whose pid is in a file; False if it is not there."""
    if not locks.is_held(path):
        return False
    try:
        pidfd = os.pidfd_open(int(files.read(path)))
    except (ProcessLookupError, ValueError):
        return False
    try:
        if not locks.is_held(path):  # it was another's pid by then
            return False
        go_in(pidfd)
    finally:
        os.close(pidfd)
    return True


def go_in(pidfd: int) -> None:
    """Enter a process's namespaces, but for one thread, which stays in this network."""
    setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS)
    OUTSIDE.append(Outside())
    setns(pidfd, CLONE_NEWNET)


def adopt(config: Config, path: str, launcher: str) -> bool:
    """Enter the namespaces of workloads whose keeper was killed, and start another that keeps them."""
    for pid in supervisors(config):
        try:
            pidfd = os.pidfd_open(pid)
            alone = os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
        except OSError:
            continue
        try:
            if alone:  # with the host's network, it does not hold the user's own
                continue
            go_in(pidfd)
        finally:
            os.close(pidfd)
        start(path, launcher, (), lambda keeper: None)
        return True
    return False


def supervisors(config: Config) -> Iterable[int]:
    """The shims of the workloads that run."""
    from twinhull.host.memory import holder

    folder = f"{config.state}/instances"
    for identity in os.listdir(folder) if os.path.isdir(folder) else ():
        alive = f"{folder}/{identity}/alive"
        if locks.is_held(alive) and (pid := holder(alive)):
            yield pid


def setns(fd: int, kinds: int) -> None:
    """setns(2), which Python has from 3.12 on."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(fd, kinds) < 0:
        number = ctypes.get_errno()
        raise HostUnfit(f"your namespaces cannot be entered: {os.strerror(number)}", hint="twinhull doctor")


def owner() -> Owner:
    """This process's user; one without an account is known by his number."""
    import pwd

    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Owner(uid, os.getgid(), name)


class Keeper(NamedTuple):
    """A keeper on its way: our end of its socket."""

    connection: socket
    pid: int


def start(path: str, launcher: str, words: Sequence[str], prepare: Callable[[Keeper], None]) -> None:
    """Start the process that keeps namespaces, and write its pid into a file whose lock it holds.

    Args:
        words: its arguments: none, and it keeps the namespaces that we are in.
        prepare: what is done between its first word and its last.

    Raises:
        HostUnfit: they cannot be made.
    """
    from _socket import AF_UNIX, SOCK_STREAM, socketpair

    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    reading, writing = os.pipe()
    try:
        flock(lock, LOCK_EX)
        descriptors = {WORD_FD: theirs.fileno(), LOCK_FD: lock, END_FD: writing}
        pid = spawn.spawn(launcher, ["twinhull-keeper", "keep", *words], descriptors, outlives=True)
        theirs.close()
        expect(ours, "user namespaces", user_namespace_hint())
        prepare(Keeper(ours, pid))
        files.write_all(lock, str(pid).encode())
    finally:
        ours.close()  # a keeper that waits for its word ends
        for fd in (lock, reading, writing):
            os.close(fd)


def write_maps(keeper: Keeper, maps: Iterable[tuple[str, list[str]]]) -> None:
    """Give its user namespace the user's numbers; it makes the others then."""
    for tool, words in maps:
        write_map(tool, keeper.pid, words)
    keeper.connection.send(b"m")
    expect(keeper.connection, "a mount and a network namespace", "twinhull doctor")


def expect(connection: socket, what: str, hint: str) -> None:
    """Wait for the keeper's word that a step went well."""
    answer = connection.recv(4)
    number = int.from_bytes(answer, "little")
    if len(answer) != 4 or number:
        reason = os.strerror(number) if number else "its process ended"
        raise HostUnfit(f"{what} cannot be made without root: {reason}", hint=hint)


def user_namespace_hint() -> str:
    """The setting that forbids user namespaces."""
    for name, value in (
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
        ("kernel/unprivileged_userns_clone", "1"),
    ):
        try:
            if files.read(f"/proc/sys/{name}").decode().strip() != value:
                return f"sysctl -w {name.replace('/', '.')}={value}"
        except OSError:
            continue
    return "sysctl -w user.max_user_namespaces=65536"


def read_maps(user: Owner) -> tuple[tuple[str, list[str]], ...]:
    """The two tools of shadow with the maps they are to write.

    Raises:
        HostUnfit: the user has no subordinate ids, or nothing can map them.
    """
    found = []
    for tool, file, own in (("newuidmap", "/etc/subuid", user.uid), ("newgidmap", "/etc/subgid", user.gid)):
        ranges = subordinate(read_text(file), user)
        if not ranges:
            raise HostUnfit(f"{file} gives {user.name} no numbers to map", hint=add_command(user))
        found.append((tool, map_words(own, ranges)))
    return tuple(found)


def add_command(user: Owner) -> str:
    """The command that gives a user numbers which nobody has yet."""
    ranges = [every for file in ("/etc/subuid", "/etc/subgid") for every in all_ranges(read_text(file))]
    first = max([FIRST_SUBORDINATE, *(row.first + row.size for row in ranges)])
    last = first + SUBORDINATES - 1
    return f"usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user.name}"


def all_ranges(text: str) -> list[Range]:
    """Every range of a file of subuid(5)."""
    return [row for _, row in rows(text)]


def rows(text: str) -> Iterable[tuple[str, Range]]:
    """The lines of subuid(5) that say something: whose, and which."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if first.isdecimal() and count.isdecimal() and int(count):
            yield name, Range(int(first), int(count))


def subordinate(text: str, user: Owner) -> list[Range]:
    """The ranges that a file of subuid(5) gives to a user, by name or by number."""
    return [row for name, row in rows(text) if name in (user.name, str(user.uid))]


def map_words(own: int, ranges: Sequence[Range]) -> list[str]:
    """What newuidmap(1) takes: root inside is the user, and after him come his numbers."""
    words, inside = ["0", str(own), "1"], 1
    for row in ranges:
        words += [str(inside), str(row.first), str(row.size)]
        inside += row.size
    return words


def write_map(tool: str, pid: int, words: Sequence[str]) -> None:
    """Run newuidmap or newgidmap."""
    try:
        done = spawn.run_tool([tool, str(pid), *words])
    except (FileNotFoundError, PermissionError):
        raise HostUnfit(f"{tool} is not here, or not for you to execute", hint=INSTALL_UIDMAP) from None
    if done.returncode:
        raise HostUnfit(f"{tool}: {done.stderr.strip() or done.returncode}", hint="twinhull doctor")


def covered() -> tuple[str, str]:
    """Where the host's control groups are mounted, and the group that this user may change, "" without one."""
    unified, legacy = cgroup_mounts(read("/proc/self/mountinfo"))
    points = [point for point in (unified, *(row[1] for row in legacy)) if point]
    if not points:
        return "", ""
    own = own_group(read("/proc/self/cgroup"))
    return os.path.commonpath(points), next(filter(is_delegated, groups_above(unified, own)), "")


def own_group(text: str) -> str:
    """The v2 group of the process whose /proc/PID/cgroup this is, "" without one."""
    return next((line[3:] for line in text.splitlines() if line.startswith("0::/")), "")


def groups_above(unified: str, own: str) -> list[str]:
    """The directories from the hierarchy's top down to a group, both included."""
    if not unified or not own or "/.." in own:
        return []
    names = [name for name in own.split("/") if name]
    return ["/".join([unified, *names[:count]]) for count in range(len(names) + 1)]


def is_delegated(group: str) -> bool:
    """True for a group in which this user may make others, and move processes (cgroups(7), delegation)."""
    return all(os.access(f"{group}{file}", os.W_OK) for file in ("", "/cgroup.procs", "/cgroup.subtree_control"))


def read_text(path: str) -> str:
    """A file's text, "" if it is not there."""
    try:
        return files.read(path).decode("utf-8", "replace")
    except OSError:
        return ""
