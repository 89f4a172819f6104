"""A network of the test's own: a namespace that plays the host, one that plays the world outside it.

Promise: the machine's own namespace is never touched; everything ends with the test. Ops are performed
here, so that what the kernel thinks of the messages is tested without the launcher.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import leaks
from twinhull.config import Config
from twinhull.host import netlink
from twinhull.model import Endpoint, Port
from twinhull.network import bridge, dhcp, dns, endpoint, leases, ports
from twinhull.plan.ops import NETNS_FD, Op
from twinhull.store import instances
from twinhull.store.db import connect, transaction

if TYPE_CHECKING:
    from sqlite3 import Connection

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETIFINDEX = 0x400454CA, 0x400454DA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
UPLINK_ADDRESS, WORLD_ADDRESS = "203.0.113.1", "203.0.113.2"
TIMEOUT_S = 3.0

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def new_namespace() -> int:
    """Make a network namespace, stay where we are, and return its descriptor."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        check(libc.unshare(CLONE_NEWNET))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    finally:
        check(libc.setns(here, CLONE_NEWNET))
        os.close(here)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Let this thread live in another network namespace for a while."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        check(libc.setns(namespace, CLONE_NEWNET))
        yield
    finally:
        check(libc.setns(here, CLONE_NEWNET))
        os.close(here)


def sh(command: str, *, ok: bool = True) -> str:
    """Run a shell command in this thread's namespace."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert not ok or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Workload:
    """A namespace on the network, as the shim makes it."""

    def __init__(self, place: Endpoint, taken: tuple[Port, ...], undo: tuple[Op, ...]):
        self.endpoint, self.ports, self.undo = place, taken, undo
        self.namespace = -1
        self.held: list[socket.socket] = []
        self.tap = -1

    def close(self) -> None:
        for sock in self.held:
            sock.close()
        for fd in (self.namespace, self.tap):
            if fd >= 0:
                os.close(fd)


class Lab:
    """The host of a test: `config` and `db` as the engine has them, `world` a namespace beyond its uplink."""

    def __init__(self, directory: Path, world: int, subnet: str = "") -> None:
        self.world = world
        self.config = Config(state=str(directory / "state"), run=str(directory / "run"))
        if subnet:
            self.config = self.config._replace(subnet=subnet)
        for path in (self.config.state, self.config.run):
            os.makedirs(path, exist_ok=True)
        self.db: Connection = connect(self.config.database, lambda _: instances.SCHEMA + ";\n" + leases.SCHEMA)
        self.table, self.link = bridge.table_name(self.config), bridge.link_name(self.config)
        self.workloads: list[Workload] = []

    def ensure(self) -> None:
        bridge.ensure(self.config, self.db, "bridge")

    def allocate(
        self, identity: str, wanted: Sequence[Port] = (), network: str = "bridge"
    ) -> tuple[Endpoint, tuple[Port, ...]]:
        with transaction(self.db):
            place = leases.allocate(self.db, network, identity)
            return place, ports.reserve(self.db, self.config, identity, wanted, network)

    def start(self, *published: str, guest: bool = False, network: str = "bridge") -> Workload:
        """Connect one more namespace, with ports as -p writes them."""
        wanted = [port for text in published for port in ports.parse(text)]
        place, taken = self.allocate(os.urandom(32).hex(), wanted, network)
        host, undo = endpoint.plan_endpoints(self.config, (place,), taken, guest=guest)
        workload = Workload(place, taken, undo)
        self.workloads.append(workload)
        perform(host, workload)
        return workload

    def stop(self, workload: Workload) -> None:
        undo(workload.undo)
        workload.close()
        self.workloads.remove(workload)
        wait_for_end(workload.endpoint.host_link)

    def close(self) -> None:
        for workload in list(self.workloads):
            self.stop(workload)
        for network in bridge.every(self.db):
            dhcp.forget(self.config, network.name)
            dns.forget(self.config, network.name)
        self.db.close()


@contextmanager
def opened(directory: Path, subnet: str = "") -> Iterator[Lab]:
    """Enter a new host with an uplink to a new world."""
    with ExitStack() as stack:
        host, world = new_namespace(), new_namespace()
        stack.callback(os.close, host)
        stack.callback(os.close, world)
        stack.enter_context(inside(host))
        sh("ip link set lo up")
        sh(f"ip link add up0 type veth peer name up0 netns /proc/{os.getpid()}/fd/{world}")
        sh(f"ip addr add {UPLINK_ADDRESS}/24 dev up0 && ip link set up0 up && ip route add default via {WORLD_ADDRESS}")
        with inside(world):
            sh(f"ip link set lo up && ip addr add {WORLD_ADDRESS}/24 dev up0 && ip link set up0 up")
        lab = Lab(directory, world, subnet)
        stack.callback(lab.close)
        yield lab


def perform(ops: Iterable[Op], workload: Workload) -> None:
    """Perform host ops as the launcher does."""
    for op in ops:
        match op.name, op.args:
            case "netns", ():
                workload.namespace = new_namespace()
            case "netlink", (bytes() as messages, int() as acks):
                os.dup2(workload.namespace, NETNS_FD)
                try:
                    send(netlink.ROUTE, messages, acks)
                finally:
                    os.close(NETNS_FD)
            case "netlink-inside", (bytes() as messages, int() as acks):
                with inside(workload.namespace):
                    send(netlink.ROUTE, messages, acks)
            case "nftables", (bytes() as batch, int() as acks):
                send(netlink.NETFILTER, batch, acks)
            case "hold-port", (str() as protocol, str() as address, int() as port):
                kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
                sock = socket.socket(socket.AF_INET, kind)
                workload.held.append(sock)
                sock.bind((address, port))
            case "tap", (int(), str() as name, int() as index):
                with inside(workload.namespace):
                    workload.tap = make_tap(name, index)
            case _:
                raise AssertionError(f"unknown op {op}")


def undo(ops: Iterable[Op]) -> None:
    """Perform undo ops; what is gone already is fine."""
    for op in ops:
        match op.name, op.args:
            case "nftables-delete", (bytes() as batch, int() as acks):
                with suppress(FileNotFoundError):
                    send(netlink.NETFILTER, batch, acks)
            case "remove-file", (str() as path,):
                with suppress(FileNotFoundError):
                    os.unlink(path)
            case "end-service", (str() as users, str() as pid_file):
                if os.path.isdir(users) and not os.listdir(users):
                    dns.end(pid_file)
            case _:
                raise AssertionError(f"unknown op {op}")


def wait_for_end(link: str) -> None:
    """The kernel takes a namespace apart in its own time, and the veth with it."""
    deadline = time.monotonic() + TIMEOUT_S
    while bridge.index_of(link):
        assert time.monotonic() < deadline, f"{link} is still there"
        time.sleep(0.01)


def send(protocol: int, messages: bytes, acks: int) -> None:
    with netlink.opened(protocol) as sock:
        netlink.exchange(sock, messages, acks)


def make_tap(name: str, index: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFINDEX, struct.pack("I", index))
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return fd


@contextmanager
def serving(namespace: int | None, port: int, address: str = "0.0.0.0") -> Iterator[list[str]]:
    """A TCP server in a namespace (None: here) that tells each client its own address; gives who came."""
    came: list[str] = []
    with inside(namespace) if namespace is not None else nullcontext():
        listener = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.settimeout(0.05)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                client, peer = listener.accept()
                came.append(peer[0])
                with client:
                    client.sendall(f"hello {peer[0]}".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield came
    finally:
        over.set()
        thread.join()
        listener.close()


def fetch(namespace: int | None, address: str, port: int, timeout_s: float = TIMEOUT_S) -> str:
    """Connect from a namespace (None: here) and return what the server says.

    Raises:
        OSError: refused, unreachable or no answer in time.
    """
    with inside(namespace) if namespace is not None else nullcontext():
        sock = socket.socket()
    with sock:
        sock.settimeout(timeout_s)
        sock.connect((address, port))
        return sock.recv(100).decode()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A network in a namespace of its own, ready for workloads."""
    with opened(tmp_path) as lab:
        lab.ensure()
        yield lab
    leaks.reap()
