"""Ops that a guest needs after its restore, and the proxy of IPv6 loopback, on this kernel."""

from __future__ import annotations

import os
import socket
import time

import pytest

from tests.kernel.test_launcher_host import children_network
from tests.support.answers import free_port
from tests.support.launch import MOUNTS, Launch
from tests.support.netlab import inside, new_namespace
from twinhull.plan import netlink
from twinhull.plan.ops import Op


def test_network_messages_reach_the_child_s_own_namespace(launch: Launch) -> None:
    plan = [Op("netns"), *launch.outside(), Op("network", (netlink.link_up(1, ack=True), 1))]
    plan += [launch.overlay(), *MOUNTS, Op("enter-root")]
    assert launch(plan, "cat", "/sys/class/net/lo/flags") == "0x9\n"


def test_a_proxy_carries_both_directions_and_ends_with_the_launcher(launch: Launch) -> None:
    namespace = new_namespace()
    with inside(namespace), socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        up(1)
        server.listen()
        port, to_port = free_port(), server.getsockname()[1]
        plan = [Op("proxy", ("::1", port, "127.0.0.1", to_port)), *launch.outside()]
        with launch.start(plan, "/bin/cat") as process:
            children_network(process.pid)
            for _ in range(3):
                exchange(server, port)
            process.communicate("")
        with pytest.raises(ConnectionRefusedError):
            wait_refused(port)
    os.close(namespace)


def up(index: int) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.send(netlink.link_up(index, ack=True))
        sock.recv(4096)


def exchange(server: socket.socket, port: int) -> None:
    """Send a megabyte through the proxy, then an end; the answer comes after it, as half-closed connections do."""
    data = os.urandom(1 << 20)
    with socket.create_connection(("::1", port), timeout=5) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(data[: 1 << 16])
            client.shutdown(socket.SHUT_WR)
            assert read_all(accepted) == data[: 1 << 16]
            accepted.sendall(data)
            accepted.shutdown(socket.SHUT_WR)
            assert read_all(client) == data


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def wait_refused(port: int) -> None:
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        socket.create_connection(("::1", port), timeout=1).close()
        time.sleep(0.01)
