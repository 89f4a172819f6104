"""The caller's terminal in front of a container's: bytes both ways, the window's size, the modes put back."""

from __future__ import annotations

import os
from _signal import SIGWINCH, signal  # type: ignore[import-not-found]  # has no stub; signal costs 3 ms
from fcntl import ioctl
from select import POLLHUP, POLLIN, poll

from twinhull.host import files

STDIN, STDOUT, CHUNK_BYTES = 0, 1, 65536
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414
WINDOW = bytes(8)


def relay(master: int, pid: int) -> int:
    """Return the status of the process, once it has ended and all that it wrote is shown."""
    import termios
    import tty

    keep_newlines(master)
    modes = termios.tcgetattr(STDIN) if os.isatty(STDIN) else None
    if modes:
        resize(master)
        signal(SIGWINCH, lambda *_: resize(master))
        tty.setraw(STDIN)
    try:
        copy(master)
    finally:
        if modes:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, modes)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 128 - status if status < 0 else status


def keep_newlines(master: int) -> None:
    """Let lines end as the container's program ends them, where they go to a file or a pipe of the caller's."""
    import termios

    if os.isatty(STDOUT):
        return
    modes = termios.tcgetattr(master)
    modes[1] &= ~termios.ONLCR
    termios.tcsetattr(master, termios.TCSANOW, modes)


def resize(master: int) -> None:
    """Give the container's terminal the size of ours."""
    ioctl(master, TIOCSWINSZ, ioctl(STDIN, TIOCGWINSZ, WINDOW))


def copy(master: int) -> None:
    """Copy until nobody has the container's end of the terminal any more."""
    ready = poll()
    ready.register(master, POLLIN)
    ready.register(STDIN, POLLIN)
    while True:
        for fd, event in ready.poll():
            if fd == STDIN:
                typed = os.read(STDIN, CHUNK_BYTES) if event & POLLIN else b""
                if typed:
                    files.write_all(master, typed)
                else:
                    ready.unregister(STDIN)
            elif event & (POLLIN | POLLHUP) and not show(master):
                return


def show(master: int) -> bool:
    """Show what there is; EIO is how a terminal says that nobody has its other end."""
    try:
        written = os.read(master, CHUNK_BYTES)
    except OSError:
        return False
    files.write_all(STDOUT, written)
    return bool(written)
