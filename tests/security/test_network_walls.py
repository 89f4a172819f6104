"""Attacks over the network that must fail, and the proof that each would work without its defence."""

from __future__ import annotations

import json
import os
import socket
import struct
import time

import pytest

from tests.support import netlab
from tests.support.command import Twinhull
from tests.support.netlab import UPLINK_ADDRESS, WORLD_ADDRESS, Lab, Workload, fetch, inside, serving, sh

REFUSED_AFTER_S = 0.4


def aim_at_loopback(workload: Workload) -> None:
    """Make a namespace send 127.0.0.1 to its gateway: what a workload with NET_RAW does with raw frames."""
    with inside(workload.namespace):
        sh("ip addr del 127.0.0.1/8 dev lo; ip route del table local 127.0.0.0/8 dev lo; true")
        sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet")
        sh(f"ip route add 127.0.0.1 via {workload.endpoint.gateway} src {workload.endpoint.address}")


def test_a_workload_does_not_reach_what_listens_on_the_hosts_loopback(lab: Lab) -> None:
    """CVE-2020-8558."""
    workload = lab.start()
    aim_at_loopback(workload)
    with serving(None, 9999, "127.0.0.1") as came:
        with pytest.raises(TimeoutError):
            fetch(workload.namespace, "127.0.0.1", 9999, REFUSED_AFTER_S)
        assert came == []

        sh(f"nft flush chain ip {lab.table} guard")
        assert fetch(workload.namespace, "127.0.0.1", 9999).startswith("hello "), "the attack itself is wrong"


def test_a_workload_does_not_reach_a_port_that_another_published_on_loopback(lab: Lab) -> None:
    target, attacker = lab.start("127.0.0.1:8080:80"), lab.start()
    aim_at_loopback(attacker)
    with serving(target.namespace, 80) as came:
        assert fetch(None, "127.0.0.1", 8080).startswith("hello ")
        for address in ("127.0.0.1", target.endpoint.gateway, UPLINK_ADDRESS):
            with pytest.raises(OSError):
                fetch(attacker.namespace, address, 8080, REFUSED_AFTER_S)
    assert len(came) == 1


def test_a_packet_that_claims_to_come_from_loopback_is_dropped(lab: Lab) -> None:
    workload = lab.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 9998))
        server.settimeout(netlab.TIMEOUT_S)
        send_udp(workload, workload.endpoint.address, workload.endpoint.gateway, 9998)
        assert server.recv(100) == b"x", "the packet itself is wrong"
        server.settimeout(REFUSED_AFTER_S)
        send_udp(workload, "127.0.0.1", workload.endpoint.gateway, 9998)
        with pytest.raises(TimeoutError):
            server.recv(100)


def send_udp(workload: Workload, source: str, target: str, port: int) -> None:
    datagram = struct.pack(">HHHH", 40000, port, 9, 0) + b"x"
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + addresses + datagram
    with inside(workload.namespace), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (target, 0))


def test_a_port_that_is_not_published_is_not_reachable_by_routing_to_its_address(lab: Lab) -> None:
    workload = lab.start("8080:80")
    with inside(lab.world):
        sh(f"ip route add {workload.endpoint.address} via {UPLINK_ADDRESS}")
    with serving(workload.namespace, 81) as came:
        with pytest.raises(TimeoutError):
            fetch(lab.world, workload.endpoint.address, 81, REFUSED_AFTER_S)
        assert came == []
    with serving(workload.namespace, 80):
        with pytest.raises(TimeoutError):
            fetch(lab.world, workload.endpoint.address, 80, REFUSED_AFTER_S)
        assert fetch(lab.world, UPLINK_ADDRESS, 8080) == f"hello {WORLD_ADDRESS}"


def test_a_workload_cannot_become_the_hosts_ipv6_router(lab: Lab) -> None:
    """CVE-2020-13401: a router advertisement from a workload."""
    workload = lab.start()
    advertise(workload)
    time.sleep(0.2)
    assert sh("ip -6 route show default") == ""
    assert "inet6" not in sh(f"ip addr show {lab.link}")

    sh(f"echo 0 > /proc/sys/net/ipv6/conf/{lab.link}/disable_ipv6")
    deadline = time.monotonic() + 5
    while "default" not in sh("ip -6 route") and time.monotonic() < deadline:
        advertise(workload)
        time.sleep(0.1)
    assert f"dev {lab.link}" in sh("ip -6 route show default"), "the attack itself is wrong"


def advertise(workload: Workload) -> None:
    """Send ICMPv6 134 with a lifetime of half an hour, from the link-local address, once there is one."""
    advertisement = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    with inside(workload.namespace), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        (link,) = json.loads(sh("ip -j link show eth0"))
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link["ifindex"])
        for _ in range(40):
            if "tentative" not in (shown := sh("ip -6 addr show dev eth0 scope link")) and "fe80" in shown:
                break
            time.sleep(0.1)
        raw.sendto(advertisement, ("ff02::1", 0, 0, link["ifindex"]))


def test_a_hairpin_teaches_no_detour(lab: Lab) -> None:
    """An ICMP redirect to the neighbour would send its next packets past the host and its DNAT."""
    sh("echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables", ok=False)
    target, neighbour = lab.start("8080:80"), lab.start()
    with inside(neighbour.namespace), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listener:
        listener.settimeout(REFUSED_AFTER_S)
        with serving(target.namespace, 80):
            for _ in range(3):
                fetch(neighbour.namespace, UPLINK_ADDRESS, 8080)
        with pytest.raises(TimeoutError):
            listener.recv(1500)


def test_a_name_server_takes_no_device_of_the_host(twinhull: Twinhull) -> None:
    """A dnsmasq that logs to a file gives that file to the user that it becomes: once it was /dev/null."""
    os.chown("/dev/null", 0, 0)
    twinhull("run", "--rm", "busybox", "nslookup", "gateway")
    assert os.stat("/dev/null").st_uid == 0
