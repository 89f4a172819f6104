"""A TCP relay before a real server, which stalls or cuts connections after so many bytes of answers."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Relay:
    """Forwards to `port`. After `limit` bytes of answers in all, it stalls, or cuts everything."""

    def __init__(self, port: int, limit: int, *, cut: bool) -> None:
        self.target, self.left, self.cut = port, limit, cut
        self.released = threading.Event()
        self.stalled = threading.Event()
        self.stopped = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self) -> None:
        while not self.stopped:
            if select.select([self.listener], [], [], 0.1)[0]:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                thread = threading.Thread(target=self.forward, args=(client, server), daemon=True)
                self.threads.append(thread)
                thread.start()

    def forward(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            while not self.stopped:
                for ready in select.select([client, server], [], [], 0.1)[0]:
                    try:
                        data = ready.recv(65536)
                        if not data or (ready is server and not self.may_pass(len(data))):
                            return
                        (client if ready is server else server).sendall(data)
                    except OSError:
                        return

    def may_pass(self, count: int) -> bool:
        """Count an answer; False cuts the connection."""
        self.left -= count
        if self.left >= 0 or self.released.is_set():
            return True
        self.stalled.set()
        if self.cut:
            return False
        while not self.stopped and not self.released.wait(0.1):
            continue
        return self.released.is_set()

    def stop(self) -> None:
        self.stopped = True
        for thread in self.threads:
            thread.join()
        self.listener.close()


@contextmanager
def relay(port: int, limit: int, *, cut: bool = False) -> Iterator[Relay]:
    """Run a relay for the time of the block."""
    running = Relay(port, limit, cut=cut)
    try:
        yield running
    finally:
        running.stop()
