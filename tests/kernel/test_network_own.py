"""Networks that users create: apart from each other, as they were asked for, and gone without a trace."""

from __future__ import annotations

import json
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.test_network_names import NXDOMAIN, resolve, wait_until_over
from tests.support import netlab
from tests.support.netlab import UPLINK_ADDRESS, WORLD_ADDRESS, Lab, Workload, fetch, inside, serving, sh
from twinhull.errors import Conflict, InvalidRequest, NotFound
from twinhull.model import Attachment, Endpoint
from twinhull.network import bridge, dns, leases, networks, resolver
from twinhull.network.endpoint import plan_endpoints
from twinhull.network.networks import Wish
from twinhull.store.db import transaction

REFUSED_AFTER_S = 0.3


def create(lab: Lab, name: str, **wish: Any) -> networks.Network:
    return networks.create(lab.config, lab.db, Wish(name, **wish))


def refuses(workload: Workload, address: str, port: int) -> bool:
    try:
        fetch(workload.namespace, address, port, REFUSED_AFTER_S)
    except OSError:
        return True
    return False


def ask(workload: Workload, server: str, name: str) -> bool:
    """True if a name server answers a workload."""
    with inside(workload.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((server, 53))
        return bool(dns.ask(sock, name, REFUSED_AFTER_S))


def test_networks_are_apart_and_each_reaches_the_world(lab: Lab) -> None:
    create(lab, "back")
    one, other = lab.start(), lab.start(network="back")
    with serving(lab.world, 80) as came:
        assert fetch(other.namespace, WORLD_ADDRESS, 80) == f"hello {UPLINK_ADDRESS}"
    assert came == [UPLINK_ADDRESS]
    for client, server in ((one, other), (other, one)):
        with serving(server.namespace, 80) as came:
            assert refuses(client, server.endpoint.address, 80)
            assert fetch(lab.start(network=server.endpoint.network).namespace, server.endpoint.address, 80)
        assert len(came) == 1


def test_another_networks_name_server_tells_nothing(lab: Lab) -> None:
    create(lab, "back")
    one, other = lab.start(), lab.start(network="back")
    for workload, name in ((one, "one"), (other, "other")):
        dns.publish(lab.config, workload.endpoint, [name])
    assert resolve(one, "one") == (0, [one.endpoint.address])
    assert resolve(one, "other") == (NXDOMAIN, [])
    assert not ask(one, other.endpoint.gateway, "other")


def test_what_the_host_offers_on_one_network_is_not_reached_from_another(lab: Lab) -> None:
    create(lab, "back")
    one, other = lab.start(), lab.start(network="back")
    with serving(None, 9000, other.endpoint.gateway):
        assert fetch(other.namespace, other.endpoint.gateway, 9000).startswith("hello ")
        assert refuses(one, other.endpoint.gateway, 9000)
        sh(f"nft flush chain ip {lab.table} entering")
        assert fetch(one.namespace, other.endpoint.gateway, 9000).startswith("hello "), "the attack itself is wrong"


def test_an_internal_network_leads_nowhere_else(lab: Lab) -> None:
    create(lab, "vault", internal=True)
    inner, neighbour = lab.start(network="vault"), lab.start(network="vault")
    published = lab.start("8080:80")
    with inside(inner.namespace):
        assert json.loads(sh("ip -j route show default")) == []
        sh(f"ip route add default via {inner.endpoint.gateway}")  # what a guest's own root can do
    with serving(neighbour.namespace, 80):
        assert fetch(inner.namespace, neighbour.endpoint.address, 80).startswith("hello ")
    with serving(lab.world, 80), serving(published.namespace, 80), serving(None, 9000) as came:
        assert refuses(inner, WORLD_ADDRESS, 80)
        assert refuses(inner, published.endpoint.address, 80)
        assert refuses(inner, UPLINK_ADDRESS, 8080)
        assert refuses(inner, UPLINK_ADDRESS, 9000)
        assert came == []


def test_the_name_server_of_an_internal_network_asks_nobody(lab: Lab) -> None:
    create(lab, "vault", internal=True)
    inner = lab.start(network="vault")
    dns.publish(lab.config, inner.endpoint, ["inner"])
    assert resolve(inner, "inner") == (0, [inner.endpoint.address])
    pid = dns.pid_of(f"{dns.directory_of(lab.config, 'vault')}/dnsmasq.pid")
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert "--no-resolv" in words
    assert not any(word.startswith("--resolv-file") for word in words)


def test_a_network_has_the_addresses_that_it_was_given(lab: Lab) -> None:
    made = create(lab, "office", subnet="10.99.0.0/29", gateway="10.99.0.3", link="office0", labels=(("a", "b"),))
    assert (made.subnet, made.gateway, made.link, made.labels) == (
        "10.99.0.0/29",
        "10.99.0.3",
        "office0",
        (("a", "b"),),
    )
    (link,) = json.loads(sh("ip -j -4 addr show office0"))
    assert link["addr_info"][0]["local"] == "10.99.0.3"
    given = [lab.allocate(f"w{number}", network="office")[0].address for number in range(5)]
    assert sorted(given) == [f"10.99.0.{number}" for number in (1, 2, 4, 5, 6)]
    with pytest.raises(Conflict, match="no free address"):
        lab.allocate("late", network="office")


def test_what_cannot_be_is_refused_in_one_line(lab: Lab) -> None:
    create(lab, "office", subnet="10.99.0.0/24")
    for wish, kind, text in (
        (Wish("office"), Conflict, "already"),
        (Wish("bridge"), InvalidRequest, "no creating"),
        (Wish("no/name"), InvalidRequest, "invalid network name"),
        (Wish("other", subnet="10.99.0.128/25"), Conflict, "overlaps"),
        (Wish("other", subnet="203.0.113.0/25"), Conflict, "overlaps"),
        (Wish("other", subnet="10.98.0.0/24", gateway="10.98.1.1"), InvalidRequest, "is no address of"),
        (Wish("other", subnet="10.98.0.0/24", gateway="fd00::1"), InvalidRequest, "is not an IPv4 address"),
        (Wish("other", gateway="10.98.1.1"), InvalidRequest, "needs the subnet"),
        (Wish("other", link="up0"), Conflict, "has a link 'up0' already"),
        (Wish("other", link="a/b"), InvalidRequest, "invalid bridge name"),
    ):
        with pytest.raises(kind, match=text):
            networks.create(lab.config, lab.db, wish)
    assert [network.name for network in networks.everything(lab.db)] == ["bridge", "office"]


def test_a_network_that_is_removed_leaves_nothing_and_disturbs_nobody(lab: Lab) -> None:
    lab.start("8080:80")
    before = sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")
    for internal in (False, True):
        create(lab, "back", internal=internal, ipv6=internal)
        workload = lab.start("8081:80", network="back") if not internal else lab.start(network="back")
        with pytest.raises(Conflict, match="has workloads"):
            networks.remove(lab.config, lab.db, "back")
        lab.stop(workload)
        lab.db.execute("DELETE FROM lease WHERE network='back'")
        networks.remove(lab.config, lab.db, "back")
        assert (sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")) == before
    with pytest.raises(NotFound):
        networks.remove(lab.config, lab.db, "back")
    with pytest.raises(InvalidRequest, match="always there"):
        networks.remove(lab.config, lab.db, "bridge")


def test_a_flushed_packet_filter_is_repaired_for_every_network(lab: Lab) -> None:
    create(lab, "back")
    workload = lab.start("8080:80", network="back")
    sh("nft flush ruleset")
    lab.ensure()
    bridge.ensure(lab.config, lab.db, "back")
    rules = sh("nft list ruleset")
    bridge.ensure(lab.config, lab.db, "back")
    lab.ensure()
    assert sh("nft list ruleset") == rules
    with serving(workload.namespace, 80):
        assert fetch(lab.world, UPLINK_ADDRESS, 8080).startswith("hello ")


def test_who_is_on_two_networks_asks_one_server_for_the_names_of_both(lab: Lab) -> None:
    create(lab, "back")
    one, other = lab.start(), lab.start(network="back")
    for workload, name in ((one, "one"), (other, "other")):
        dns.publish(lab.config, workload.endpoint, [name])
    both = on_both(lab)
    resolver.serve(lab.config, both[0])
    workload = both[1]
    for _ in range(2):
        assert resolve(workload, "one") == (0, [one.endpoint.address])
        assert resolve(workload, "other") == (0, [other.endpoint.address])
        assert resolve(workload, "nosuch") == (NXDOMAIN, [])
        assert resolve(one, "other") == (NXDOMAIN, [])
        sh("nft flush ruleset")
        lab.ensure()
    pid = dns.pid_of(f"{resolver.directory_of(lab.config, workload.endpoint)}/dnsmasq.pid")
    lab.stop(workload)
    wait_until_over(pid)
    resolver.withdraw(lab.config, both[0])
    assert not Path(resolver.directory_of(lab.config, workload.endpoint)).exists()


def on_both(lab: Lab) -> tuple[tuple[Endpoint, ...], Workload]:
    """A namespace on the default network and on `back`, with the row of its workload."""
    with transaction(lab.db):
        places = leases.allocate_all(lab.db, (Attachment("bridge"), Attachment("back")), "both")
        row = ("both", "both", "", "", "container", 0, "[]", "{}", "", json.dumps(places))
        columns = "id, name, image, image_digest, isolation, created, command, request, boot_id, endpoints"
        lab.db.execute(f"INSERT INTO instance ({columns}) VALUES ({','.join('?' * len(row))})", row)
    host, undo = plan_endpoints(lab.config, places)
    workload = Workload(places[0], (), undo)
    lab.workloads.append(workload)
    netlab.perform(host, workload)
    return places, workload


def test_a_network_with_ipv6_reaches_its_own_and_the_world_and_nobody_else(lab: Lab) -> None:
    Path("/proc/sys/net/ipv6/conf/up0/accept_ra").write_text("1")
    sh("ip addr add 2001:db8::1/64 dev up0 nodad && ip -6 route add default via 2001:db8::2")
    with inside(lab.world):
        sh("ip addr add 2001:db8::2/64 dev up0 nodad")
    for name in ("six", "other"):
        create(lab, name, ipv6=True)
    create(lab, "vault", subnet6="fd12:3456:789a::/64", internal=True)
    assert Path("/proc/sys/net/ipv6/conf/up0/accept_ra").read_text() == "2\n", "the host forgot its own router"
    one, peer, other, inner = (lab.start(network=name) for name in ("six", "six", "other", "vault"))
    assert inner.endpoint.gateway6 == "fd12:3456:789a::1"
    with serving6(peer.namespace) as came:
        assert fetch6(one.namespace, peer.endpoint.address6) == f"hello {one.endpoint.address6}"
        for stranger in (other, inner):
            assert refuses6(stranger, peer.endpoint.address6)
    with serving6(lab.world) as came:
        assert fetch6(one.namespace, "2001:db8::2") == "hello 2001:db8::1"
        with inside(inner.namespace):
            sh(f"ip -6 route add default via {inner.endpoint.gateway6}")
        assert refuses6(inner, "2001:db8::2")
    assert came == ["2001:db8::1"]
    with inside(lab.world):
        sh(f"ip -6 route add {peer.endpoint.address6} via 2001:db8::1")
    with serving6(peer.namespace), pytest.raises(OSError):
        fetch6(lab.world, peer.endpoint.address6, REFUSED_AFTER_S)
    dns.publish(lab.config, peer.endpoint, ["peer"])
    packed = socket.inet_pton(socket.AF_INET6, peer.endpoint.address6)
    with inside(one.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(netlab.TIMEOUT_S)
        sock.connect((one.endpoint.gateway, 53))
        sock.send(b"tw" + dns.RECURSIVE_QUESTION + b"\4peer\0\0\x1c\0\1")
        assert packed in sock.recv(512)
    bridge_ra = Path(f"/proc/sys/net/ipv6/conf/{one.endpoint.bridge}/accept_ra").read_text()
    assert bridge_ra == "0\n", "a workload's router advertisement would be believed"


def serving6(namespace: int) -> AbstractContextManager[list[str]]:
    return serving(namespace, 80, "::")


def fetch6(namespace: int, address: str, timeout_s: float = netlab.TIMEOUT_S) -> str:
    with inside(namespace), socket.create_connection((address, 80), timeout=timeout_s) as sock:
        return sock.recv(100).decode()


def refuses6(workload: Workload, address: str) -> bool:
    try:
        fetch6(workload.namespace, address, REFUSED_AFTER_S)
    except OSError:
        return True
    return False


class Killed(BaseException):
    """As kill -9: nothing of the program comes after it."""


@pytest.mark.parametrize("step", ["write", "fill", "make_link", "delete", "take_away"])
def test_whatever_step_a_command_is_killed_at_the_next_one_finishes(
    lab: Lab, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")

    for after in (False, True):
        whole = getattr(bridge, step)

        def act_and_die(*values: object, act: object = whole, after: bool = after, **named: object) -> None:
            if after:
                act(*values, **named)  # type: ignore[operator]  # whichever step it is
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(bridge, step, act_and_die)
            with pytest.raises(Killed):
                create(lab, "back")
                networks.remove(lab.config, lab.db, "back")
        if bridge.find(lab.db, "back"):
            bridge.ensure(lab.config, lab.db, "back")
            lab.stop(lab.start(network="back"))
            lab.db.execute("DELETE FROM lease")
            networks.remove(lab.config, lab.db, "back")
        else:
            create(lab, "back")
            networks.remove(lab.config, lab.db, "back")
        assert (sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")) == before
