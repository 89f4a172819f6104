"""Workloads on a network, judged by packets: who reaches whom, and with which address."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.support import netlab
from tests.support.netlab import UPLINK_ADDRESS, WORLD_ADDRESS, Lab, fetch, inside, serving, sh
from twinhull.model import Endpoint
from twinhull.network.alone import plan_none

BRIDGE_NETFILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"


def test_a_workload_has_the_address_and_route_of_its_endpoint(lab: Lab) -> None:
    workload = lab.start()

    with inside(workload.namespace):
        (link,) = json.loads(sh("ip -j -4 addr show eth0"))
        (route,) = json.loads(sh("ip -j route show default"))
        (loopback,) = json.loads(sh("ip -j link show lo"))

    place = workload.endpoint
    assert (link["addr_info"][0]["local"], link["addr_info"][0]["prefixlen"]) == (place.address, place.prefix)
    assert link["operstate"] == "UP"
    assert (route["gateway"], route["dev"]) == (place.gateway, "eth0")
    assert "UP" in loopback["flags"]


def test_its_hardware_address_is_derived_from_its_address(lab: Lab) -> None:
    workload = lab.start()
    with inside(workload.namespace):
        (link,) = json.loads(sh("ip -j link show eth0"))
    packed = socket.inet_aton(workload.endpoint.address)
    assert link["address"] == workload.endpoint.mac == "02:74:" + ":".join(f"{byte:02x}" for byte in packed)


def test_the_host_end_is_a_port_of_the_bridge(lab: Lab) -> None:
    workload = lab.start()
    (link,) = json.loads(sh(f"ip -j -d link show {workload.endpoint.host_link}"))
    assert link["master"] == lab.link
    assert link["linkinfo"]["info_slave_data"]["state"] == "forwarding"


def test_workloads_reach_each_other_under_their_own_addresses(lab: Lab) -> None:
    one, other = lab.start(), lab.start()
    with serving(one.namespace, 80) as came:
        fetch(other.namespace, one.endpoint.address, 80)
    assert came == [other.endpoint.address]


def test_what_leaves_the_host_carries_the_hosts_address(lab: Lab) -> None:
    workload = lab.start()
    with serving(lab.world, 80) as came:
        assert fetch(workload.namespace, WORLD_ADDRESS, 80) == f"hello {UPLINK_ADDRESS}"
    assert came == [UPLINK_ADDRESS]


def test_a_published_port_answers_from_outside_with_the_clients_address(lab: Lab) -> None:
    workload = lab.start("8080:80")
    with serving(workload.namespace, 80) as came:
        assert fetch(lab.world, UPLINK_ADDRESS, 8080) == f"hello {WORLD_ADDRESS}"
    assert came == [WORLD_ADDRESS]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", UPLINK_ADDRESS])
def test_a_published_port_answers_on_the_host_itself(lab: Lab, address: str) -> None:
    workload = lab.start("8080:80")
    with serving(workload.namespace, 80):
        assert fetch(None, address, 8080).startswith("hello ")


@pytest.mark.parametrize("in_bridge", ["0", "1"])
def test_a_published_port_answers_inside_its_own_network(lab: Lab, in_bridge: str) -> None:
    """Hairpin: from a neighbour and from the workload itself, by the host's address and the gateway's."""
    if os.path.exists(BRIDGE_NETFILTER):
        Path(BRIDGE_NETFILTER).write_text(in_bridge)
    workload, neighbour = lab.start("8080:80"), lab.start()
    with serving(workload.namespace, 80):
        for client in (neighbour, workload):
            for address in (UPLINK_ADDRESS, workload.endpoint.gateway):
                for _ in range(3):  # a redirect after the first would break the next
                    assert fetch(client.namespace, address, 8080) == f"hello {workload.endpoint.gateway}"


def test_a_port_published_on_one_address_answers_on_no_other(lab: Lab) -> None:
    workload = lab.start("127.0.0.1:8080:80")
    with serving(workload.namespace, 80):
        assert fetch(None, "127.0.0.1", 8080).startswith("hello ")
        for namespace in (None, lab.world):
            with pytest.raises(OSError):
                fetch(namespace, UPLINK_ADDRESS, 8080, timeout_s=0.3)


def test_udp_ports_are_published_too(lab: Lab) -> None:
    workload = lab.start("5353:53/udp")
    with inside(workload.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 53))
        server.settimeout(netlab.TIMEOUT_S)
        with inside(lab.world), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(netlab.TIMEOUT_S)
            client.connect((UPLINK_ADDRESS, 5353))
            client.send(b"ping")
            data, peer = server.recvfrom(100)
            server.sendto(data + b" pong", peer)
            assert client.recv(100) == b"ping pong"


def test_a_range_is_published_port_by_port(lab: Lab) -> None:
    workload = lab.start("8000-8002:80-82")
    for number in range(3):
        with serving(workload.namespace, 80 + number):
            assert fetch(lab.world, UPLINK_ADDRESS, 8000 + number) == f"hello {WORLD_ADDRESS}"


def test_a_port_without_a_number_gets_a_free_one_of_the_host(lab: Lab) -> None:
    workload = lab.start("80")
    (port,) = workload.ports
    assert port.host_port > 1023
    with serving(workload.namespace, 80):
        assert fetch(lab.world, UPLINK_ADDRESS, port.host_port).startswith("hello ")


def test_a_port_that_a_process_of_the_host_has_is_found_before_anything_is_made(lab: Lab) -> None:
    names = "ip -br link | cut -d ' ' -f 1"  # a bridge takes a moment to see that its last port is gone
    links = sh(names)
    with serving(None, 8080), pytest.raises(OSError, match="Address already in use"):
        lab.start("8080:80")
    assert sh(names) == links


def test_a_guest_gets_the_frames_of_its_link_and_sends_through_it(lab: Lab) -> None:
    """The test plays the guest: it answers an ARP question that arrives at the tap."""
    workload, neighbour = lab.start(guest=True), lab.start()
    mac = bytes.fromhex(workload.endpoint.mac.replace(":", ""))
    address = socket.inet_aton(workload.endpoint.address)

    with inside(neighbour.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (workload.endpoint.address, 9))
        asker = await_arp_question(workload.tap, address)
        reply = asker[0] + mac + b"\x08\x06\0\x01\x08\0\x06\x04\0\x02" + mac + address + asker[0] + asker[1]
        os.write(workload.tap, bytes(10) + reply)
        frame = next_frame(workload.tap, lambda frame: frame[12:14] == b"\x08\0" and frame[0:6] == mac)

    assert frame[30:34] == address
    with inside(workload.namespace):
        assert json.loads(sh("ip -j -4 addr show eth0")) in ([], [{}]), "the namespace must not answer in its place"


def await_arp_question(tap: int, address: bytes) -> tuple[bytes, bytes]:
    frame = next_frame(tap, lambda frame: frame[12:14] == b"\x08\x06" and frame[38:42] == address)
    return frame[6:12], frame[28:32]


def next_frame(tap: int, wanted: object) -> bytes:
    import select

    assert callable(wanted)
    for _ in range(50):
        assert select.select([tap], [], [], netlab.TIMEOUT_S)[0], "no frame arrived at the tap"
        frame = os.read(tap, 65536)[10:]
        if wanted(frame):
            return frame
    raise AssertionError("the frame did not come")


def test_a_workload_leaves_no_link_and_no_element(lab: Lab) -> None:
    def state() -> tuple[list[str], str]:
        return [link["ifname"] for link in json.loads(sh("ip -j link"))], sh("nft list ruleset")

    before = state()
    workload = lab.start("8080:80", "127.0.0.1:9090:90", "53:53/udp")
    assert state() != before
    assert sh(f"nft -j list map ip {lab.table} published").count("concat") > 1

    lab.stop(workload)

    assert state() == before


def test_undoing_twice_is_fine_and_keeps_what_came_after(lab: Lab) -> None:
    first = lab.start("8080:80", "8081:81")
    sh(f"nft delete element ip {lab.table} published {{ tcp . 8080 }}")
    netlab.undo(first.undo)
    assert "8081" not in sh(f"nft list map ip {lab.table} published"), "one missing element kept the others"
    netlab.undo(first.undo)


def test_host_and_interior_of_a_network_none_are_apart() -> None:
    host, undo = plan_none()
    workload = netlab.Workload(Endpoint("", "", 0, "", 0, "", "", ""), (), undo)
    try:
        netlab.perform(host, workload)
        with inside(workload.namespace):
            links = [link["ifname"] for link in json.loads(sh("ip -j link")) if "UP" in link["flags"]]
    finally:
        workload.close()
    assert links == ["lo"]
