"""A network is made once, found cheaply, and repaired when something of it is gone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import netlab
from tests.support.netlab import UPLINK_ADDRESS, WORLD_ADDRESS, Lab, fetch, serving, sh
from twinhull.errors import Conflict, InvalidRequest
from twinhull.host import spawn
from twinhull.model import Endpoint, Port
from twinhull.network import bridge, dns, leases, ports


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with netlab.opened(tmp_path) as lab:
        yield lab


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **named: object) -> subprocess.CompletedProcess[str]:
        raise AssertionError(f"a process was started: {words}")

    monkeypatch.setattr(spawn, "run_tool", refuse)


def reach_the_world(lab: Lab) -> None:
    workload = lab.start("8080:80")
    with serving(lab.world, 80):
        assert fetch(workload.namespace, WORLD_ADDRESS, 80) == f"hello {UPLINK_ADDRESS}"
    with serving(workload.namespace, 80):
        assert fetch(lab.world, UPLINK_ADDRESS, 8080) == f"hello {WORLD_ADDRESS}"
    lab.stop(workload)
    with lab.db:
        leases.release(lab.db, lab.db.execute("SELECT instance FROM lease").fetchone()[0])


def test_the_second_ensure_starts_no_process(lab: Lab, request: pytest.FixtureRequest) -> None:
    lab.ensure()
    request.getfixturevalue("no_process")
    lab.ensure()


def test_the_bridge_has_the_gateways_address_and_a_hardware_address_that_stays(lab: Lab) -> None:
    lab.ensure()
    (before,) = json.loads(sh(f"ip -j addr show {lab.link}"))
    workload = lab.start()
    (after,) = json.loads(sh(f"ip -j addr show {lab.link}"))
    assert before["addr_info"][0]["local"] == workload.endpoint.gateway
    assert after["address"] == before["address"]


def test_a_flushed_packet_filter_is_repaired_with_the_ports_of_those_who_run(lab: Lab) -> None:
    lab.ensure()
    workload = lab.start("8080:80", "127.0.0.1:8081:80")
    sh("nft flush ruleset")
    lab.ensure()
    with serving(workload.namespace, 80):
        assert fetch(lab.world, UPLINK_ADDRESS, 8080).startswith("hello ")
        assert fetch(None, "127.0.0.1", 8081).startswith("hello ")


def test_a_deleted_bridge_is_made_again(lab: Lab) -> None:
    lab.ensure()
    sh(f"ip link del {lab.link}")
    lab.ensure()
    reach_the_world(lab)


def test_a_bridge_of_a_state_that_is_no_more_is_replaced(lab: Lab) -> None:
    lab.ensure()
    lab.db.execute("DELETE FROM network")
    lab.ensure()
    (link,) = json.loads(sh(f"ip -j -4 addr show {lab.link}"))
    assert len(link["addr_info"]) == 1


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_another_firewall_that_drops_by_policy_does_not_shut_a_workload_out(lab: Lab, program: str) -> None:
    """As Docker and ufw leave it; and its own tool can still read its table."""
    sh(f"{program} -P FORWARD DROP; {program} -P INPUT DROP")
    lab.ensure()
    reach_the_world(lab)
    assert f"-A FORWARD -i {lab.link} " in sh(f"{program} -S")


def test_a_firewall_that_was_switched_on_later_is_found_by_the_next_command(lab: Lab) -> None:
    lab.ensure()
    sh("iptables-nft -P FORWARD DROP")
    lab.ensure()
    reach_the_world(lab)


def test_a_firewall_of_native_rules_is_opened_too(lab: Lab) -> None:
    chain = "{ type filter hook forward priority 0; policy drop; }"
    sh(f"nft add table inet wall && nft 'add chain inet wall forward {chain}'")
    lab.ensure()
    reach_the_world(lab)


def test_firewalld_rejects_by_its_last_rule_and_is_opened_too(lab: Lab) -> None:
    chain = "{ type filter hook forward priority 10; policy accept; }"
    sh(f"nft add table inet firewalld && nft 'add chain inet firewalld filter_FORWARD {chain}'")
    sh("nft add rule inet firewalld filter_FORWARD reject")
    lab.ensure()
    reach_the_world(lab)


def test_accepts_are_not_added_twice(lab: Lab) -> None:
    sh("iptables-nft -P FORWARD DROP")
    lab.ensure()
    rules = sh("iptables-nft -S FORWARD")
    sh(f"ip link del {lab.link}")
    lab.ensure()
    assert sh("iptables-nft -S FORWARD") == rules


def test_removing_the_network_leaves_nothing_of_ours(lab: Lab) -> None:
    chain = "{ type filter hook input priority 0; policy drop; }"
    sh(f"iptables-nft -P FORWARD DROP; nft add table inet wall && nft 'add chain inet wall input {chain}'")
    sh("nft add rule inet wall input iif lo accept")
    before = sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")
    lab.ensure()
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    lab.db.execute("DELETE FROM lease")  # whoever forgot to withdraw
    lab.stop(workload)
    bridge.remove(lab.config, lab.db)
    assert not os.path.exists(os.path.dirname(dns.directory_of(lab.config, "bridge")))
    assert (sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")) == before
    bridge.remove(lab.config, lab.db)


def test_a_network_with_workloads_is_not_removed(lab: Lab) -> None:
    lab.ensure()
    lab.start()
    with pytest.raises(Conflict, match="has workloads"):
        bridge.remove(lab.config, lab.db)


def test_two_installations_on_one_host_do_not_meet(tmp_path: Path) -> None:
    with netlab.opened(tmp_path / "one") as one:
        one.ensure()
        other = Lab(tmp_path / "other", one.world)
        try:
            other.ensure()
            assert {one.link, one.table}.isdisjoint({other.link, other.table})
            reach_the_world(one)
            reach_the_world(other)
        finally:
            other.close()


def test_a_subnet_that_the_host_routes_elsewhere_is_not_taken(lab: Lab) -> None:
    first, second, *_ = bridge.candidates(lab.config)
    sh(f"ip route add {first} via {WORLD_ADDRESS}")
    lab.ensure()
    assert lab.allocate("a")[0].gateway.rsplit(".", 1)[0] == second.rsplit(".", 1)[0]


def test_a_configured_subnet_that_overlaps_is_a_clear_error(tmp_path: Path) -> None:
    with netlab.opened(tmp_path, subnet="203.0.113.128/25") as lab, pytest.raises(Conflict, match="overlaps"):
        lab.ensure()


def test_an_exhausted_subnet_is_a_clear_error_and_a_released_address_comes_back(tmp_path: Path) -> None:
    with netlab.opened(tmp_path, subnet="10.99.0.0/29") as lab:
        lab.ensure()
        given = [lab.allocate(f"w{number}")[0].address for number in range(5)]
        assert given == [f"10.99.0.{number}" for number in range(2, 7)]
        with pytest.raises(Conflict, match=r"no free address: all 5 of 10\.99\.0\.0/29"):
            lab.allocate("one too many")
        leases.release(lab.db, "w3")
        assert lab.allocate("next")[0].address == "10.99.0.5"


def test_the_1024th_port_of_a_bridge_is_a_clear_error_and_the_kernel_takes_the_1023rd(lab: Lab) -> None:
    lab.ensure()
    place = [lab.allocate(f"w{number}")[0] for number in range(1023)][-1]
    with pytest.raises(Conflict, match="no more ports"):
        lab.allocate("one too many")
    pairs = "".join(f"link add a{n} type veth peer name b{n}\n" for n in range(511))
    batch = pairs + "".join(f"link set {end}{n} master {lab.link}\n" for n in range(511) for end in "ab")
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    join_one(lab, place)
    with pytest.raises(OSError, match=os.strerror(54)):  # EXFULL: what our limit comes before
        join_one(lab, place._replace(host_link="twonemore"))


def join_one(lab: Lab, place: Endpoint) -> None:
    from twinhull.network.endpoint import plan_endpoints

    host, undo = plan_endpoints(lab.config, (place,))
    workload = netlab.Workload(place, (), undo)
    lab.workloads.append(workload)
    netlab.perform(host, workload)


def test_a_port_that_a_workload_has_is_refused_by_its_name(lab: Lab) -> None:
    lab.ensure()
    add_instance(lab, "a1", "web")
    lab.allocate("a1", ports.parse("8080:80"))
    for text in ("8080:81", "127.0.0.1:8080:80"):
        with pytest.raises(Conflict, match="port 8080/tcp is in use by web"):
            lab.allocate("b2", ports.parse(text))
    lab.allocate("c3", ports.parse("8080:80/udp"))
    leases.release(lab.db, "a1")
    lab.allocate("d4", ports.parse("127.0.0.1:8080:80"))
    lab.allocate("e5", ports.parse("127.0.0.2:8080:80"))


def add_instance(lab: Lab, identity: str, name: str) -> None:
    columns = "id, name, image, image_digest, isolation, created, command, request, boot_id"
    lab.db.execute(
        f"INSERT INTO instance ({columns}) VALUES (?, ?, '', '', 'vm', 0, '[]', '{{}}', '')", (identity, name)
    )


def test_a_refused_port_takes_nothing_else(lab: Lab) -> None:
    lab.ensure()
    lab.allocate("a1", ports.parse("8080:80"))
    with pytest.raises(Conflict):
        lab.allocate("b2", [*ports.parse("8081:81"), *ports.parse("8080:80")])
    lab.allocate("c3", ports.parse("8081:81"))


def test_a_free_port_is_one_that_can_be_bound(lab: Lab) -> None:
    lab.ensure()
    _, taken = lab.allocate("a1", [Port("", 0, port) for port in range(1, 6)])
    assert len({port.host_port for port in taken}) == 5
    assert all(port.address == "0.0.0.0" for port in taken)


def test_another_subnet_is_taken_as_soon_as_nobody_has_an_address_of_the_old(lab: Lab) -> None:
    lab.ensure()
    lab.allocate("w")
    other = lab.config._replace(subnet="10.99.0.0/29")
    with pytest.raises(InvalidRequest, match="not an IPv4 network"):
        bridge.ensure(other._replace(subnet="foo"), lab.db)
    with pytest.raises(Conflict, match="has workloads"):
        bridge.ensure(other, lab.db)
    leases.release(lab.db, "w")
    bridge.ensure(other, lab.db)
    bridge.ensure(other, lab.db)
    assert sh(f"ip -4 -o address show {lab.link}").split()[3] == "10.99.0.1/29"
    new = leases.allocate(lab.db, "bridge", "w")
    assert new.address.startswith("10.99.0.")
