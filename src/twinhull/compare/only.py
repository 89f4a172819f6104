"""What only one side can do, each tried on both.

Promise: nothing is claimed that was not tried in this run; an attempt that works on both sides, or on
neither, is listed as such.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import threading

from twinhull.compare import abandoned, probe
from twinhull.compare.findings import number
from twinhull.compare.run import last_line
from twinhull.compare.session import ISOLATIONS, Instances, Session
from twinhull.compare.subject import MeasurementFailed, flags_of, own_command
from twinhull.host import files, memory, spawn
from twinhull.host.facts import read
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

INSIDE = "/shared"
STEP_S = 0.02
TIMEOUT_S = 60
IMAGE = "twinhull/busybox"  # for what the probes cannot do
SIZE_SHARE = 0.5  # memory that is seen below this share of the host's is not the host's


class Answer(NamedTuple):
    """Whether one attempt worked on one side, and what was seen."""

    works: bool
    seen: str


class Attempt(NamedTuple):
    """One thing that `side` alone is said to do; `name` is that of its answers."""

    name: str
    side: str
    what: str
    tried: str
    why: str


ATTEMPTS = (
    Attempt("release", "vm", "run on a kernel of another release than the host's", "uname -r inside and outside",
            "a guest brings its kernel; a container has none"),
    Attempt("memory-size", "vm", "show a program its own memory as the machine's", "MemTotal inside and outside",
            "/proc/meminfo is the kernel's, and has no namespace"),
    Attempt("modules", "vm", "use modules that the host's kernel does not have", "/proc/modules inside and outside",
            "modules belong to a kernel"),
    Attempt("processes", "container", "have its processes seen by the host's ps and strace",
            "look for the workload's process in the host's /proc", "a guest's processes are known to its kernel alone"),
    Attempt("host-network", "container", "use the host's network as it is", "--network host; the namespace's number",
            "a network namespace belongs to a kernel"),
    Attempt("lock", "container", "honour a lock that the host holds on a shared file", "flock of a file in a volume",
            "a lock is kept by the kernel that took it"),
    Attempt("socket", "container", "reach a socket of the host in a volume", "connect to a Unix socket in a volume",
            "a socket is the kernel's; only its name is in the file system"),
    Attempt("notify", "container", "be told when the host changes a shared file", "inotify on a file in a volume",
            "changes are told by the kernel that makes them"),
    Attempt("memory", "container", "share memory with the host through a mapped file", "mmap of a file in a volume",
            "a page is shared within one kernel"),
)  # fmt: skip


def try_only(session: Session) -> None:
    """Try everything on each living side and put the list together."""
    answers: dict[str, dict[str, Answer]] = {}
    for subject in session.living(*ISOLATIONS):
        session.tell(f"what only one side can do, tried ({subject.name})")
        answers[subject.name] = {
            **look(session, subject.name),
            "processes": processes(session, subject.name),
            "host-network": host_network(session, subject.name),
        }
        if session.native:  # these are tried with programs of this machine's
            answers[subject.name]["modules"] = modules(session, subject.name)
            answers[subject.name].update(sharing(session, subject.name))
    session.findings.only = [entry(attempt, answers) for attempt in ATTEMPTS]


def entry(attempt: Attempt, answers: Mapping[str, Mapping[str, Answer]]) -> dict[str, Any]:
    """One attempt as the document has it: `works` if it did on its side and on no other."""
    seen = {side: found[attempt.name] for side, found in answers.items() if attempt.name in found}
    alone = attempt.side in seen and [side for side, answer in seen.items() if answer.works] == [attempt.side]
    return {
        "side": attempt.side,
        "what": attempt.what,
        "tried": attempt.tried,
        "works": alone and len(seen) > 1,
        "why": attempt.why,
        "outcomes": {side: answer._asdict() for side, answer in seen.items()},
    }


def look(session: Session, side: str) -> dict[str, Answer]:
    """What the probe saw of the kernel and of the memory."""
    inside, host = session.findings.inside.get(side, {}), session.findings.inside.get("host", {})
    size, whole = number(inside, "memory-kb"), number(host, "memory-kb")
    release = inside.get("release", "")
    answers = {"release": Answer(release not in ("", host.get("release")), release)}
    if size is not None and whole:
        answers["memory-size"] = Answer(size < whole * SIZE_SHARE, f"{size} of {whole} kB")
    return answers


def run(session: Session, side: str, *words: str) -> tuple[int, str, str]:
    """Run a command in a new instance with the same limits: (status, output, last line of what it complained)."""
    argv = ("timeout", str(TIMEOUT_S), *own_command(), "run", "--rm", *flags_of(session.subjects[side]), *words)
    done = spawn.run_tool(argv)
    return done.returncode, done.stdout, last_line(done.stderr)


def modules(session: Session, side: str) -> Answer:
    """Whether modules are loaded inside that are not loaded in the host's kernel."""
    status, text, complaint = run(session, side, "--network", "none", IMAGE, "cat", "/proc/modules")
    own, host = names(text), names(read("/proc/modules"))
    return Answer(status == 0 and bool(own - host), complaint if status else f"{len(own - host)} of its own")


def names(modules: str) -> set[str]:
    """The names in /proc/modules."""
    return {line.split()[0] for line in modules.splitlines() if line}


def processes(session: Session, side: str) -> Answer:
    """Whether the host sees the workload's own process, by its program's name."""
    with Instances(session.subjects[side]) as instances:
        try:
            idle = instances.start(session.probe_image, probe.WAIT)
        except MeasurementFailed as error:
            return Answer(False, error.message)
        seen = [read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() for pid in memory.tree(idle.supervisor)]
    found = [text for text in seen if text == " ".join(probe.WAIT)]
    return Answer(bool(found), found[0] if found else f"the host sees {len(seen)} others")


def host_network(session: Session, side: str) -> Answer:
    """Whether it gets the network namespace of the host."""
    status, text, complaint = run(session, side, "--network", "host", session.probe_image)
    inside = dict(line.partition(" ")[::2] for line in text.splitlines())
    same = inside.get("boot-id") == read("/proc/sys/kernel/random/boot_id").strip()
    own = os.stat("/proc/self/ns/net").st_ino
    works = status == 0 and same and inside.get("namespace-net") == str(own)
    return Answer(works, complaint if status else f"namespace {inside.get('namespace-net', 'unknown')}")


def sharing(session: Session, side: str) -> dict[str, Answer]:
    """What goes through a volume while this process holds, listens and changes on its other side."""
    with abandoned.scratch("share") as place, shared(place):
        volume = ("--network", "none", "-v", f"{place}:{INSIDE}")
        _, text, complaint = run(session, side, *volume, session.probe_image, probe.ESCAPES_INSIDE, INSIDE)
    answers = {}
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        word, _, detail = rest.partition(" ")
        answers[name.removeprefix("share-")] = Answer(word == "yes", detail.strip())
    return answers or {name: Answer(False, complaint) for name in ("lock", "socket", "notify", "memory")}


@contextmanager
def shared(place: str) -> Iterator[None]:
    """Hold a lock, listen on a socket, and change a file and a mapped page until the block ends."""
    for name in ("lock", "notify", "memory"):
        files.write(f"{place}/{name}", b"\0")
    over = threading.Event()
    with open(f"{place}/lock", "rb") as lock, socket.socket(socket.AF_UNIX) as listener:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener.bind(f"{place}/socket")
        listener.listen()
        worker = threading.Thread(target=change, args=(place, over.wait))
        worker.start()
        try:
            yield
        finally:
            over.set()
            worker.join()


def change(place: str, over: Callable[[float], bool]) -> None:
    """Write to a file, and to memory that is mapped from another, until it is over."""
    with open(f"{place}/memory", "r+b") as file, mmap.mmap(file.fileno(), 1) as page:
        while not over(STEP_S):
            page[0] = (page[0] + 1) % 256
            with open(f"{place}/notify", "wb") as notified:
                notified.write(b"\0")


def told(only: Sequence[Mapping[str, Any]], side: str) -> str:
    """One phrase: how many of the things that a side alone is said to do it did alone; "" if none was tried."""
    tried = [one for one in only if one["side"] == side and one["outcomes"]]
    return f"alone can {sum(one['works'] for one in tried)} of {len(tried)} things tried" if tried else ""
