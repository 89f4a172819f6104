"""Asking what listens on a port of this host."""

from __future__ import annotations

import socket
import time

READY_S = 10.0


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def fetch(port: int, address: str = "127.0.0.1") -> str:
    """What is said there first, once somebody listens."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with socket.create_connection((address, port), timeout=1) as sock:
                if said := sock.recv(100).decode():
                    return said
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
