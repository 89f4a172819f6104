"""What runs in a machine, told by its own system through the guest agent."""

from __future__ import annotations

import time

from twinhull.machine import agent
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.machine.agent import Agent, System

SERVICES = ("systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend", "--full")
PROCESSES = "cat /proc/[0-9]*/stat 2>/dev/null; true"  # one may end between the list and the look
STATE = ("systemctl", "is-system-running")
# What systemd says before everything that it starts has started; nothing at all before it can be asked.
COMING = ("initializing", "starting", "unknown")
UP = ("running", "degraded", "maintenance", "stopping")
POLL_S = 0.2
KIB = 1024
MAX_NAME = 80


class Inside(NamedTuple):
    """A system from within; "", 0 or () where it has no program that says.

    Attributes:
        state: one of COMING or UP; "" where no systemd can be asked.
        init: name of process 1.
        processes: user processes, without the kernel's threads.
        threads: the kernel's own threads.
        memory_used_bytes: of what the system can use, what is not available to a new program.
    """

    system: System
    init: str
    processes: int
    threads: int
    services: tuple[str, ...]
    memory_bytes: int
    memory_used_bytes: int
    state: str


def look(directory: str, timeout_s: float = agent.TIMEOUT_S, wait_s: float = 0.0) -> Inside:
    """Ask a running machine.

    Args:
        directory: of its instance.
        timeout_s: for all questions together.
        wait_s: so long at most until its system is up; what had not started by then is missing, and `state` says so.

    Raises:
        GuestError: no agent answers, or not in time: a question without an answer is no answer of nothing.
    """
    with agent.asking(directory, timeout_s + wait_s) as guest:
        state = settled(guest, wait_s)
        guest.deadline = time.monotonic() + timeout_s
        total, available = memory(answer(guest, "cat", "/proc/meminfo"))
        processes, threads = count(answer(guest, "sh", "-c", PROCESSES))
        return Inside(
            system=guest.system(),
            init=answer(guest, "cat", "/proc/1/comm").strip()[:MAX_NAME],
            processes=max(processes - 1, 0),  # the shell that was asked is none of the system's
            threads=threads,
            services=names(answer(guest, *SERVICES)),
            memory_bytes=total,
            memory_used_bytes=total - available,
            state=state,
        )


def settled(guest: Agent, wait_s: float) -> str:
    """Wait until the system is up, and return what it says of itself then."""
    until = time.monotonic() + wait_s
    while (state := state_of(guest)) in COMING and time.monotonic() < until:
        time.sleep(POLL_S)
    return state


def state_of(guest: Agent) -> str:
    """What systemd says of the system; its exit status says the same."""
    try:
        code, text = guest.run(*STATE)
    except agent.Refused:
        return ""
    word = text.strip()
    return word if word in (*COMING, *UP) else "unknown" if code and not word else ""


def answer(guest: Agent, *argv: str) -> str:
    """What a program of the guest says, "" if it has no such program or the program failed."""
    try:
        code, text = guest.run(*argv)
    except agent.Refused:
        return ""
    return text if code == 0 else ""


def memory(text: str) -> tuple[int, int]:
    """Return (total, available) of a /proc/meminfo, in bytes."""
    found = {line.partition(":")[0]: line.split()[1:2] for line in text.splitlines()}
    sizes = [found.get(name, ["0"]) for name in ("MemTotal", "MemAvailable")]
    total, available = (int(size[0]) * KIB if size and size[0].isdecimal() else 0 for size in sizes)
    return total, available


def count(text: str) -> tuple[int, int]:
    """Return (processes, kernel threads) of lines of /proc/PID/stat: PF_KTHREAD tells them apart."""
    rows = [line.rpartition(")")[2].split() for line in text.splitlines()]
    flags = [int(row[6]) for row in rows if len(row) > 6 and row[6].isdecimal()]
    threads = sum(1 for flag in flags if flag & 0x00200000)
    return len(flags) - threads, threads


def names(text: str) -> tuple[str, ...]:
    """Return the names of services in systemctl's list, without anything a terminal would obey."""
    words = (line.split()[0] for line in text.splitlines() if line.split())
    found = (word.removesuffix(".service")[:MAX_NAME] for word in words)
    return tuple("".join(letter for letter in name if letter.isprintable()) for name in found)
