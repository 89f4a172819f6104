"""Who learns that the kernel killed a process of a container for want of memory, while `events` waits."""

from __future__ import annotations

import os
from select import POLLIN, POLLPRI, poll

from twinhull.host import files
from twinhull.runtime.oci.groups import numbers
from twinhull.runtime.oci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

SETTLE_MS = 20  # v1 tells of it before it has killed
SETTLE_TRIES = 10


class Watch:
    """The kills of a container's memory group, and the end of its first process."""

    def __init__(self, record: Record) -> None:
        legacy = dict(record.legacy).get("memory", "")
        self.file = f"{legacy}/memory.oom_control" if legacy else f"{record.unified}/memory.events"
        self.descriptors: list[int] = []
        self.woken = poll()
        self.told = -1  # v1's
        self.seen = self.count()
        try:
            self.woken.register(self.keep(os.pidfd_open(record.pid)), POLLIN)
        except ProcessLookupError:
            pass
        try:
            control = self.keep(os.open(self.file, os.O_RDONLY | os.O_CLOEXEC))
            if legacy:
                self.told = self.keep(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
                files.write_value(f"{legacy}/cgroup.event_control", f"{self.told} {control}".encode())
                self.woken.register(self.told, POLLIN)
            else:
                self.woken.register(control, POLLPRI)
        except OSError:  # no such group, or a kernel that tells nobody: then it is seen when the time is over
            pass

    def keep(self, fd: int) -> int:
        """Close a descriptor when all is over."""
        self.descriptors.append(fd)
        return fd

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for fd in self.descriptors:
            os.close(fd)

    def count(self) -> int:
        """How many were killed since the group was made."""
        return numbers(self.file).get("oom_kill", 0)

    def wait(self, seconds: float) -> int:
        """Wait so long, or until something happens; return how many were killed meanwhile."""
        if woken := self.woken.poll(seconds * 1000):
            for fd, _ in woken:
                if fd == self.told:
                    os.eventfd_read(fd)
            for _ in range(SETTLE_TRIES):
                if self.count() > self.seen:
                    break
                poll().poll(SETTLE_MS)
        now = self.count()
        killed, self.seen = max(now - self.seen, 0), max(now, self.seen)
        return killed
