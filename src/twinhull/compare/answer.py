"""When a workload first answers on a port: asked again and again, from a thread of its own.

Promise: an answer is a byte that came back, or a greeting; a connection that something in between takes
and drops is none.
"""

from __future__ import annotations

import socket
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Most servers say something to it, be it that they do not understand.
QUESTION = b"GET / HTTP/1.0\r\n\r\n"
PAUSE_S = 0.001
PATIENCE_S = 1.0  # with one connection that was accepted


class Answer(threading.Thread):
    """Asks `target()` (None: not yet known) until something answers; `moment_s` is when, after `began`."""

    def __init__(self, target: Callable[[], tuple[str, int] | None], began: float) -> None:
        super().__init__(daemon=True)
        self.target, self.began = target, began
        self.moment_s: float | None = None
        self.over = threading.Event()

    def run(self) -> None:
        """Ask."""
        while not self.over.wait(PAUSE_S):
            place = self.target()
            if place and answers(place):
                self.moment_s = time.monotonic() - self.began
                return

    def stop(self) -> None:
        """Ask no more."""
        self.over.set()
        self.join()


def answers(place: tuple[str, int]) -> bool:
    """Ask once."""
    try:
        with socket.create_connection(place, timeout=PATIENCE_S) as connection:
            connection.sendall(QUESTION)
            return bool(connection.recv(1))
    except OSError:
        return False
