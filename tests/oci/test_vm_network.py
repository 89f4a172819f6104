"""What a machine of twinhull-oci-vm has of a network namespace that its caller has connected."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.launch import BUSYBOX
from tests.support.oci import Container
from tests.support.vm import wait_until

NAMESPACE = "twinhull-oci-vm"


def ip(*words: str, inside: bool = False) -> str:
    argv = ["ip", *(["-n", NAMESPACE] if inside else []), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def namespace(nothing_is_left_behind: None) -> Iterator[str]:
    """A namespace with two links to the host, addresses of both families, and routes that only somebody can add."""
    ip("netns", "add", NAMESPACE)
    try:
        for number, name in enumerate(("front", "back")):
            ip("link", "add", f"thvm{number}", "mtu", "1400", "type", "veth", "peer", name, "netns", NAMESPACE)
            ip("address", "add", f"10.213.{78 + number}.1/24", "dev", f"thvm{number}")
            ip("link", "set", f"thvm{number}", "up")
            ip("link", "set", name, "mtu", "1400", inside=True)
            ip("address", "add", f"10.213.{78 + number}.2/24", "dev", name, inside=True)
            ip("link", "set", name, "up", inside=True)
        ip("address", "add", "fd00:78::1/64", "dev", "thvm0", "nodad")
        ip("address", "add", "fd00:78::2/64", "dev", "front", "nodad", inside=True)
        ip("route", "add", "default", "via", "10.213.78.1", inside=True)
        ip("route", "add", "198.51.100.0/24", "via", "10.213.79.1", "metric", "7", inside=True)
        ip("-6", "route", "add", "default", "via", "fd00:78::1", inside=True)
        yield f"/run/netns/{NAMESPACE}"
    finally:
        ip("netns", "delete", NAMESPACE)


def in_namespace(machine: Container, path: str) -> Container:
    """The machine where its caller says that it shall be."""
    for entry in machine.spec["linux"]["namespaces"]:
        if entry["type"] == "network":
            entry["path"] = path
    return machine


def test_cards_have_the_links_names_addresses_sizes_and_routes(machine: Container, namespace: str) -> None:
    in_namespace(machine, namespace).begin()
    for name in ("front", "back"):
        there = ip("-o", "link", "show", name, inside=True)
        here = machine.exec("ip", "link", "show", name).stdout
        assert "mtu 1400" in here
        assert there.split("link/ether ")[1].split()[0] in here
    addresses = machine.exec("ip", "address").stdout
    assert all(text in addresses for text in ("10.213.78.2/24", "10.213.79.2/24", "fd00:78::2/64"))
    routes = machine.exec("ip", "route").stdout
    assert "default via 10.213.78.1 dev front" in routes
    assert "198.51.100.0/24 via 10.213.79.1 dev back" in routes
    assert "default via fd00:78::1 dev front" in machine.exec("ip", "-6", "route").stdout


def test_packets_go_both_ways_and_the_namespace_is_given_back(machine: Container, namespace: str) -> None:
    kept = "CAP_NET_RAW"
    held = machine.spec["process"]["capabilities"]
    machine.spec["process"]["capabilities"] = {kind: [*names, kept] for kind, names in held.items()}
    for _ in range(2):  # what joined the links is gone when the next machine comes
        in_namespace(machine, namespace).begin()
        assert machine.exec("ping", "-c", "1", "-W", "5", "10.213.79.1").returncode == 0
        assert machine.exec("ping", "-c", "1", "-W", "5", "fd00:78::1").returncode == 0
        wait_until(lambda: answers("10.213.78.2"), "the guest answers")
        machine.do("delete", "--force", machine.id)
    assert (
        "ingress"
        not in subprocess.run(["tc", "-n", NAMESPACE, "qdisc"], check=True, capture_output=True, text=True).stdout
    )
    assert answers("10.213.78.2")  # the namespace itself, again


def answers(address: str) -> bool:
    return subprocess.run([BUSYBOX, "ping", "-c", "1", "-W", "1", address], capture_output=True).returncode == 0


def test_links_that_come_between_create_and_start_are_there(machine: Container, namespace: str) -> None:
    ip("link", "set", "back", "down", inside=True)
    in_namespace(machine, namespace).create()
    ip("link", "set", "back", "up", inside=True)
    machine.start()
    assert "10.213.79.2/24" in machine.exec("ip", "address").stdout


def test_the_network_of_the_host_is_refused_by_any_of_its_names(machine: Container) -> None:
    before = subprocess.run(["tc", "qdisc"], check=True, capture_output=True, text=True).stdout
    for path in ("/proc/self/ns/net", f"/proc/{os.getpid()}/ns/net"):
        assert in_namespace(machine, path).create(check=False).returncode == 1
        assert machine.errors()[-1] == "linux.namespaces: a virtual machine cannot have the host's network"
    assert subprocess.run(["tc", "qdisc"], check=True, capture_output=True, text=True).stdout == before


def test_a_link_that_is_no_ethernet_is_refused_by_name(machine: Container, namespace: str) -> None:
    ip("tuntap", "add", "odd", "mode", "tun", inside=True)
    ip("link", "set", "odd", "up", inside=True)
    in_namespace(machine, namespace).create()
    assert machine.do("start", machine.id, check=False).returncode == 1
    assert "the link odd of the network namespace is no Ethernet link" in machine.errors()[-1]
