"""The launcher's `attach` in front of a shim: with pipes, or on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Any

from tests.support.shim import PATIENCE_S, Shim


def words(shim: Shim, *flags: str, fd: int) -> list[str]:
    """The command line of an attach that takes over a conversation."""
    return [shim.launch.launcher, "attach", "--fd", str(fd), *flags]


def foreground(shim: Shim, *flags: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start the workload and hand its first client to an attach with pipes."""
    client = shim.start()
    fd = client.connection.fileno()
    standard = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    process = subprocess.Popen(words(shim, *flags, fd=fd), pass_fds=(fd,), **standard)
    client.close()
    return process


class Terminal:
    """An attach that leads a session on a terminal whose other side is ours."""

    def __init__(self, argv: list[str], keep: int, size: tuple[int, int] = (24, 80)) -> None:
        self.seen = b""
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(OSError):
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
                os.set_inheritable(keep, True)
                os.execv(argv[0], argv)
            os._exit(1)

    def read_until(self, text: bytes) -> bytes:
        """Return what was shown up to and with `text`, which is taken away from what is seen."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, self.seen
            assert select.select([self.fd], [], [], left)[0], self.seen
            try:
                part = os.read(self.fd, 65536)
            except OSError:
                part = b""
            assert part, self.seen
            self.seen += part
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.fd, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Make the window another size."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list[Any]:
        """The terminal's modes as the kernel has them now."""
        return termios.tcgetattr(self.fd)

    def wait(self, *, stopped: bool = False) -> int:
        """Return the status of the attach: it has ended, or stopped."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.005)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.fd, 65536)
            pid, status = os.waitpid(self.pid, os.WNOHANG | (os.WUNTRACED if stopped else 0))
            if pid and os.WIFSTOPPED(status):
                return os.WSTOPSIG(status)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
        raise AssertionError(f"attach does not end: {self.seen!r}")

    def close(self) -> None:
        """Take the terminal away."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def terminal(shim: Shim, *flags: str, size: tuple[int, int] = (24, 80)) -> Terminal:
    """Start the workload and hand its first client to an attach on a terminal."""
    client = shim.start()
    fd = client.connection.fileno()
    shown = Terminal(words(shim, "--tty", "--stdin", *flags, fd=fd), fd, size)
    client.close()
    return shown
