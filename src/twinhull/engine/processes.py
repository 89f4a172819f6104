"""The processes of a workload, as `ps` shows them: numbers and owners are those of its host, a guest's of the guest.

Promise: nothing of the image is asked; a guest's words are bounded and shown without control characters.

Source: proc(5), ps(1).
"""

from __future__ import annotations

import time

from twinhull.engine import tools
from twinhull.engine.control import require_running
from twinhull.engine.state import Home, require_group
from twinhull.errors import GuestError, InvalidRequest
from twinhull.model import Instance
from twinhull.runtime.tool import Tool
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_LIST_BYTES = 16 << 20
TICKS = 100  # USER_HZ, of every architecture
PAGE_BYTES = 4096
DAY_S = 86400.0
PTY_MAJOR = 136  # and the seven after it


class Process(NamedTuple):
    """One process. Times in seconds; `started` is since the epoch; `words` is empty for a thread of the kernel."""

    pid: int
    parent: int
    uid: int
    state: str
    name: str
    terminal: str
    processor_s: float
    elapsed_s: float
    started: float
    nice: int
    threads: int
    virtual_bytes: int
    resident_bytes: int
    words: str


class Column(NamedTuple):
    """One column of ps."""

    header: str
    show: Callable[[Process], str]


def clock(seconds: float) -> str:
    """[DD-]HH:MM:SS."""
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def start(process: Process) -> str:
    """HH:MM of today, the day of earlier."""
    recent = process.elapsed_s < DAY_S
    return time.strftime("%H:%M" if recent else "%b%d", time.localtime(process.started))


def share(process: Process) -> float:
    """Percent of one processor over its life."""
    return 100 * process.processor_s / process.elapsed_s if process.elapsed_s else 0.0


def owner(process: Process) -> str:
    """A number: names are the image's own affair."""
    return "root" if process.uid == 0 else str(process.uid)


def command(process: Process) -> str:
    """The words, or the name of a process that has none."""
    return process.words or f"[{process.name}]"


COLUMNS = {
    "pid": Column("PID", lambda row: str(row.pid)),
    "ppid": Column("PPID", lambda row: str(row.parent)),
    "uid": Column("UID", lambda row: str(row.uid)),
    "user": Column("USER", owner),
    "c": Column("C", lambda row: str(int(share(row)))),
    "pcpu": Column("%CPU", lambda row: f"{share(row):.1f}"),
    "stime": Column("STIME", start),
    "start": Column("START", start),
    "tty": Column("TTY", lambda row: row.terminal),
    "time": Column("TIME", lambda row: clock(row.processor_s)),
    "etime": Column("ELAPSED", lambda row: clock(row.elapsed_s)),
    "stat": Column("STAT", lambda row: row.state),
    "ni": Column("NI", lambda row: str(row.nice)),
    "nlwp": Column("NLWP", lambda row: str(row.threads)),
    "vsz": Column("VSZ", lambda row: str(row.virtual_bytes >> 10)),
    "rss": Column("RSS", lambda row: str(row.resident_bytes >> 10)),
    "comm": Column("COMMAND", lambda row: row.name),
    "args": Column("COMMAND", command),
    "cmd": Column("CMD", command),
}
SAME = {"%cpu": "pcpu", "euser": "user", "euid": "uid", "tt": "tty", "tname": "tty", "s": "stat", "state": "stat"}
SAME |= {"command": "args", "ucmd": "comm", "ucomm": "comm", "nice": "ni", "thcount": "nlwp", "cputime": "time"}
SAME |= {"vsize": "vsz", "rssize": "rss", "start_time": "stime", "bsdstart": "start"}
FULL = ("user", "pid", "ppid", "c", "stime", "tty", "time", "cmd")
BSD = ("user", "pid", "pcpu", "vsz", "rss", "tty", "stat", "start", "time", "args")
NAMED = {"": FULL, "-ef": FULL, "ef": FULL, "-f": FULL, "-e": ("pid", "tty", "time", "comm"), "aux": BSD, "-aux": BSD}
LISTS = ("-o", "o", "-eo", "-e -o", "-ao", "-A -o", "axo", "ao", "-axo")


def columns_of(options: Sequence[str]) -> list[Column]:
    """The columns that words of ps ask for: -ef and none, aux, -e, -o LIST and its like.

    Raises:
        InvalidRequest: another option.
    """
    text = " ".join(options)
    if text in NAMED:
        names: Sequence[str] = NAMED[text]
        found = [COLUMNS[name] for name in names]
        return [Column("UID", owner), *found[1:]] if names is FULL else found
    head, _, listed = text.rpartition(" ")
    if not head and text.startswith("-o"):
        head, listed = "-o", text[2:]
    words = [word for word in listed.lower().split(",") if word]
    unknown = [word for word in words if SAME.get(word, word) not in COLUMNS]
    if head not in LISTS or unknown or not words:
        what = f"no such column: {unknown[0]}" if head in LISTS and unknown else f"unknown options of ps: {text}"
        raise InvalidRequest(what, hint=f"-ef, aux, or -o with some of {','.join(COLUMNS)}")
    return [COLUMNS[SAME.get(word, word)] for word in words]


def top(home: Home, instance: Instance) -> list[Process]:
    """The processes of a running workload, by number.

    Raises:
        Conflict: it does not run.
    """
    tools.refuse_machine(instance)
    require_running(home, instance)
    if instance.isolation == "container":
        require_group("top")
    with tools.conversation_with(home, instance) as conversation:
        content = Tool(conversation, "processes").everything(MAX_LIST_BYTES)
    try:
        return sorted(parse(content, time.time()), key=lambda row: row.pid)
    except (ValueError, IndexError) as error:
        raise GuestError(f"the list of processes of {instance.name} cannot be read: {error}") from None


def parse(content: bytes, now: float) -> list[Process]:
    """The list that the tool writes: the seconds since the boot, then a process a line."""
    first, *lines = content.decode("utf-8", "replace").split("\n")
    return [parse_line(line, int(first), now) for line in lines if line]


def parse_line(line: str, since_boot_s: int, now: float) -> Process:
    """One process: pid, owner, /proc/PID/stat and the words, NULs between them."""
    pid, uid, stat, words = line.split("\0", 3)
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    elapsed_s = max(since_boot_s - int(fields[19]) / TICKS, 0.0)
    return Process(
        pid=int(pid),
        parent=int(fields[1]),
        uid=int(uid),
        state=printable(fields[0]),
        name=printable(head.partition("(")[2]),
        terminal=terminal(int(fields[4])),
        processor_s=(int(fields[11]) + int(fields[12])) / TICKS,
        elapsed_s=elapsed_s,
        started=now - elapsed_s,
        nice=int(fields[16]),
        threads=int(fields[17]),
        virtual_bytes=int(fields[20]),
        resident_bytes=int(fields[21]) * PAGE_BYTES,
        words=printable(words.replace("\1", " ").strip()),
    )


def terminal(number: int) -> str:
    """pts/3, or ? without one (the encoding of new_encode_dev)."""
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    return f"pts/{minor}" if major == PTY_MAJOR else "?"


def printable(text: str) -> str:
    """On one line and without terminal escapes: a workload wrote it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
