"""The network's plans as the real launcher performs and undoes them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import leaks, netlab
from tests.support.launch import Launch
from tests.support.netlab import UPLINK_ADDRESS, WORLD_ADDRESS, Lab, fetch, serving, sh
from twinhull.errors import LaunchError
from twinhull.model import Endpoint, Port
from twinhull.network import dns, endpoint, ports
from twinhull.plan.ops import Op

READY_S = 5.0
LOOPBACK6 = "::1"


def plan(lab: Lab, *published: str, guest: bool = False) -> tuple[Endpoint, tuple[Op, ...], tuple[Op, ...]]:
    wanted: list[Port] = [port for text in published for port in ports.parse(text)]
    place, taken = lab.allocate(os.urandom(32).hex(), wanted)
    return place, *endpoint.plan_endpoints(lab.config, (place,), taken, guest=guest)


@contextmanager
def running(launch: Launch, host: tuple[Op, ...], script: str) -> Iterator[subprocess.Popen[str]]:
    """A container on the network that says "ready" before its script."""
    ops = [*host, *launch.root()]
    with launch.start(ops, "sh", "-c", f"echo ready; {script}") as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n", process.communicate(timeout=READY_S)
            yield process
        finally:
            process.kill()


def fetch_patiently(namespace: int | None, address: str, port: int) -> str:
    """Busybox's nc takes a moment to listen."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if said := fetch(namespace, address, port):
                return said
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def test_a_container_reaches_the_world_and_is_reached_by_its_port(lab: Lab, launch: Launch) -> None:
    _, host, undo = plan(lab, "8080:80")
    with running(launch, host, "while :; do echo hello | nc -l -p 80; done"):
        assert fetch_patiently(lab.world, UPLINK_ADDRESS, 8080) == "hello\n"
        assert fetch_patiently(None, "127.0.0.1", 8080) == "hello\n"
    assert launch.undo(*undo).exit_code == 0

    _, host, undo = plan(lab)
    with serving(lab.world, 80) as came:
        said = launch([*host, *launch.root()], "nc", WORLD_ADDRESS, "80")
    assert said == f"hello {UPLINK_ADDRESS}"
    assert came == [UPLINK_ADDRESS]
    assert launch.undo(*undo).exit_code == 0


def test_undo_leaves_the_host_as_it_was_and_succeeds_twice(lab: Lab, launch: Launch) -> None:
    before = sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")
    place, host, undo = plan(lab, "8080:80", "9090:90/udp", "127.0.0.1:81:81")
    with running(launch, host, "sleep 9"):
        assert sh("nft list ruleset") != before[0]
    for _ in range(2):
        done = launch.undo(*undo)
        assert done.exit_code == 0, done.stderr
        netlab.wait_for_end(place.host_link)
        assert (sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")) == before


def test_a_port_that_the_host_uses_stops_the_plan_at_its_op(lab: Lab, launch: Launch) -> None:
    _, host, _ = plan(lab, "8080:80")
    with serving(None, 8080), pytest.raises(LaunchError, match="hold-port 8080: Address already in use"):
        launch([*host, *launch.root()], "true")


def test_undo_of_the_last_workload_ends_the_name_server(lab: Lab, launch: Launch) -> None:
    first, second = plan(lab), plan(lab)
    for place, _, _ in (first, second):
        dns.publish(lab.config, place, [place.host_link])
    pid_file = f"{dns.directory_of(lab.config, 'bridge')}/dnsmasq.pid"
    pid = dns.pid_of(pid_file)

    assert launch.undo(*first[2]).exit_code == 0
    assert dns.pid_of(pid_file) == pid
    assert launch.undo(*second[2]).exit_code == 0

    assert not os.path.exists(pid_file)
    deadline = time.monotonic() + READY_S
    command = Path(f"/proc/{pid}/cmdline")
    while command.exists() and command.read_bytes():
        assert time.monotonic() < deadline, "the name server is still there"
        time.sleep(0.01)


def test_undo_does_not_end_a_process_that_only_has_the_number(lab: Lab, launch: Launch) -> None:
    place, _, undo = plan(lab)
    dns.publish(lab.config, place, ["web"])
    pid_file = Path(dns.directory_of(lab.config, "bridge")) / "dnsmasq.pid"
    real = pid_file.read_text()
    with subprocess.Popen(["sleep", "60"]) as victim:
        pid_file.write_text(f"{victim.pid}\n")
        assert launch.undo(*undo).exit_code == 0
        assert victim.poll() is None
        victim.kill()
    pid_file.write_text(real)
    dns.withdraw(lab.config, place)


def test_a_guests_tap_is_joined_to_its_link(lab: Lab, launch: Launch) -> None:
    _, host, undo = plan(lab, guest=True)
    mounts = Op("filesystem", ("sysfs", "sysfs", "/sys", 0, ""))
    script = (
        "cat /sys/class/net/tap0/ifindex /sys/class/net/eth0/ifindex /sys/class/net/tap0/flags; ip -4 addr show eth0"
    )
    ops = [*host, *launch.root(mounts)]
    lines = launch(ops, "sh", "-c", script).splitlines()
    assert lines[:2] == ["16777217", "16777216"]
    assert int(lines[2], 16) & 1, "the tap is not up"
    assert "inet " not in "".join(lines[3:])
    assert launch.undo(*undo).exit_code == 0


def test_a_port_on_ipv6_loopback_is_forwarded(lab: Lab, launch: Launch) -> None:
    place, host, undo = plan(lab, "[::1]:8080:80")
    with running(launch, host, "sleep 9") as process, serving_many(process, place, lab):
        payload = os.urandom(1 << 20)
        with socket.create_connection((LOOPBACK6, 8080), timeout=netlab.TIMEOUT_S) as sock:
            sock.settimeout(netlab.TIMEOUT_S)
            assert echo(sock, payload) == payload
        clients = [socket.create_connection((LOOPBACK6, 8080), timeout=netlab.TIMEOUT_S) for _ in range(40)]
        for number, client in enumerate(clients):
            client.sendall(f"{number}".encode())
        assert [client.recv(10) for client in clients] == [f"{number}".encode() for number in range(40)]
        for client in clients:
            client.close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", 8080), timeout=0.3)
    assert launch.undo(*undo).exit_code == 0
    await_refusal(LOOPBACK6, 8080)


def await_refusal(address: str, port: int) -> None:
    """The proxy is killed with its parent; the kernel closes its socket a moment later."""
    deadline = time.monotonic() + READY_S
    with suppress(ConnectionRefusedError):
        while time.monotonic() < deadline:
            socket.create_connection((address, port), timeout=netlab.TIMEOUT_S).close()
            time.sleep(0.02)
        raise AssertionError(f"{address}:{port} still answers")


def echo(sock: socket.socket, payload: bytes) -> bytes:
    import threading

    def send() -> None:
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    sender.join()
    return b"".join(parts)


@contextmanager
def serving_many(process: subprocess.Popen[str], place: Endpoint, lab: Lab) -> Iterator[None]:
    """An echo server in the namespace of a container, for many clients at once."""
    import selectors
    import threading

    child = leaks.children(process.pid)[-1]
    namespace = os.open(f"/proc/{child}/ns/net", os.O_RDONLY)
    with netlab.inside(namespace):
        listener = socket.create_server(("0.0.0.0", 80))
    os.close(namespace)
    over = threading.Event()

    def serve() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not over.is_set():
                for key, _ in selector.select(0.05):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock is listener:
                        selector.register(listener.accept()[0], selectors.EVENT_READ)
                    elif data := sock.recv(1 << 16):
                        sock.sendall(data)
                    else:
                        selector.unregister(sock)
                        sock.close()
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
