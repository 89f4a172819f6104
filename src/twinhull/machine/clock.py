"""How long a machine takes from the word to a system that is up, each part on its own clock.

Promise: a time was seen, on the console or by asking the guest's own system, or it is None; nothing is estimated from
another machine or another run.
"""

from __future__ import annotations

import time
from _socket import timeout as SocketTimeout

from twinhull.errors import GuestError, SupervisorLost
from twinhull.machine import agent
from twinhull.plan.frames import Kind
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.machine.agent import Agent
    from twinhull.runtime.sandbox import Sandbox

UP_TIMEOUT_S = 300.0
# Nobody reads the console while the agent is asked: shortly, until the kernel's line was seen.
SHORT_ASK_S, LONG_ASK_S = 0.02, 1.0
LISTEN_S = 0.1
QUESTIONS_TIMEOUT_S = 30.0
CREDIT_BYTES = 4  # a frame's payload
# The first line of every Linux; GRUB names a file, never these words.
KERNEL_LINE = b"Linux version "
TAIL_BYTES = 64
MICROSECONDS = 1e6
# What the guest is asked, in its own words: each answer on a line.
MANAGER = ("systemctl", "show", "--property=UserspaceTimestampMonotonic", "--property=FinishTimestampMonotonic")


class Clock(NamedTuple):
    """Seconds from the word to each event; None where it was not seen.

    Attributes:
        spawned: QEMU was executed.
        console: the first byte on the serial console: the firmware's or the boot loader's.
        kernel_line: the kernel's first line on the console, which it sends once it has found the port.
        kernel: the kernel's own zero, from its uptime when the agent answered.
        init: process 1 of the disk's system began, by its own account (systemd).
        up: the guest agent answered.
        settled: the system says that everything it starts has started (systemd), None if it had not.
    """

    spawned: float
    console: float | None = None
    kernel_line: float | None = None
    kernel: float | None = None
    init: float | None = None
    up: float | None = None
    settled: float | None = None


def watch(conversation: Sandbox, directory: str, began: float, timeout_s: float = UP_TIMEOUT_S) -> Clock:
    """Follow a machine that has just been started until its agent answers.

    Args:
        conversation: the first client's end, which `start` returned; it is read here and nowhere else.
        began: time.monotonic() when the start was asked for.

    Raises:
        GuestError: it ended, or no agent answered in time.
    """
    clock = Clock(time.monotonic() - began)
    console = Console(conversation, began)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        console.read_for(LISTEN_S)
        if console.first is None:
            continue
        try:
            with agent.asking(directory, LONG_ASK_S if console.kernel else SHORT_ASK_S) as guest:
                up = time.monotonic() - began
                console.read_for(0.0)
                clock = clock._replace(console=console.first, kernel_line=console.kernel, up=up)
                guest.deadline = time.monotonic() + QUESTIONS_TIMEOUT_S
                return asked(guest, clock, began)
        except GuestError:
            continue
    raise GuestError(f"no guest agent answered in {timeout_s:.0f} s", hint="does the disk have qemu-guest-agent?")


class Console:
    """The console's bytes as they come, kept no longer than it takes to find the first of them and the kernel's."""

    def __init__(self, conversation: Sandbox, began: float) -> None:
        self.conversation, self.began = conversation, began
        self.first: float | None = None
        self.kernel: float | None = None
        self.tail = b""

    def read_for(self, seconds: float) -> None:
        """Take what comes, for so long.

        Raises:
            GuestError: the machine ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.conversation.connection.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                frame = self.conversation.receive()
            except SocketTimeout:
                return
            except SupervisorLost:
                raise GuestError("the machine ended before it was up") from None
            finally:
                self.conversation.connection.settimeout(None)
            if frame.kind == Kind.EXIT:
                raise GuestError("the machine ended before it was up")
            if frame.kind == Kind.STDOUT and frame.payload:
                self.take(frame.payload)

    def take(self, payload: bytes) -> None:
        """Note the time of what is new, and let as much follow."""
        now = time.monotonic() - self.began
        self.first = now if self.first is None else self.first
        self.tail += payload
        if self.kernel is None and KERNEL_LINE in self.tail:
            self.kernel = now
        self.tail = self.tail[-TAIL_BYTES:]
        self.conversation.offer(Kind.CREDIT, 0, len(payload).to_bytes(CREDIT_BYTES, "little"))


def asked(guest: Agent, clock: Clock, began: float) -> Clock:
    """Add what only the guest knows; a system without the program that is asked leaves it out."""
    try:
        before = time.monotonic()
        uptime = float(guest.run("cat", "/proc/uptime")[1].split()[0])
        # The answer was made between the question and its arrival; half of that is the resolution.
        zero = no_later((before + time.monotonic()) / 2 - uptime - began, clock.kernel_line)
    except (GuestError, ValueError, IndexError):
        return clock
    clock = clock._replace(kernel=zero)
    try:
        found = dict(line.split("=", 1) for line in guest.run(*MANAGER)[1].splitlines() if "=" in line)
    except GuestError:
        return clock
    init, finish = (since(found.get(f"{name}TimestampMonotonic", ""), zero) for name in ("Userspace", "Finish"))
    return clock._replace(init=init, settled=finish)


def no_later(zero: float, line: float | None) -> float:
    """The kernel's zero: it ran when its first line came, however long an answer took."""
    return zero if line is None else min(zero, line)


def since(microseconds: str, zero: float) -> float | None:
    """A time of the guest's as one of ours; 0 is systemd's "not yet"."""
    return zero + int(microseconds) / MICROSECONDS if microseconds.isdecimal() and int(microseconds) else None
