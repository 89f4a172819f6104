"""Addresses, subnets, names and ops of a network, without a kernel."""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.config import Config
from twinhull.errors import Conflict, InvalidRequest, NotFound
from twinhull.model import Endpoint, Port
from twinhull.network import alone, bridge, dns, endpoint, etc, leases
from twinhull.plan import codec

CONFIG = Config()
ROW = ("bridge", "br0", "10.99.0.0/28", 1, 7, 1)
PLACE = Endpoint("bridge", "br0", 3, "10.87.0.2", 16, "10.87.0.1", "02:74:0a:57:00:02", "tw0123456789ab")
subnets = st.builds(
    lambda number, prefix: ipaddress.IPv4Network((number, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(leases.SCHEMA)
    connection.execute(
        "INSERT INTO network (name, link, subnet, version, link_index, chain_handle) VALUES (?,?,?,?,?,?)", ROW
    )
    yield connection
    connection.close()


def test_an_address_comes_back_as_late_as_possible(db: sqlite3.Connection) -> None:
    given_out = []
    for number in range(40):
        given_out.append(leases.allocate(db, "bridge", f"w{number}").address)
        leases.release(db, f"w{number}")
    assert given_out[:13] == [f"10.99.0.{number}" for number in range(2, 15)]
    assert given_out[13:26] == given_out[:13]


def test_addresses_in_use_are_stepped_over(db: sqlite3.Connection) -> None:
    for number in range(13):
        leases.allocate(db, "bridge", f"w{number}")
    with pytest.raises(Conflict):
        leases.allocate(db, "bridge", "late")
    for number in (7, 3):
        leases.release(db, f"w{number}")
    assert [leases.allocate(db, "bridge", f"n{n}").address for n in range(2)] == ["10.99.0.5", "10.99.0.9"]


def test_an_endpoint_says_all_that_a_plan_needs(db: sqlite3.Connection) -> None:
    place = leases.allocate(db, "bridge", "0123456789abcdef")
    assert place[:7] == ("bridge", "br0", 7, "10.99.0.2", 28, "10.99.0.1", "02:74:0a:63:00:02")
    assert place.host_link.startswith("tw0123")
    assert len(place.host_link) == 15


def test_link_names_are_not_used_again(db: sqlite3.Connection) -> None:
    assert len({leases.unused_link_name("0123456789ab") for _ in range(1000)}) == 1000


def test_a_network_that_was_never_made_is_not_found(db: sqlite3.Connection) -> None:
    with pytest.raises(NotFound):
        leases.allocate(db, "nosuch", "a")


@given(subnets, subnets)
def test_overlap_is_what_the_standard_library_says(one: ipaddress.IPv4Network, other: ipaddress.IPv4Network) -> None:
    found = bridge.overlapping(
        (int(one.network_address), one.prefixlen), [(int(other.network_address), other.prefixlen)]
    )
    assert bool(found) == one.overlaps(other)


@pytest.mark.parametrize("root", ["/var/lib/twinhull", "/tmp/a/state", "/tmp/b/state"])
def test_candidates_are_private_and_apart(root: str) -> None:
    networks = [ipaddress.ip_network(text) for text in bridge.candidates(Config(state=root))]
    assert all(network.is_private for network in networks)
    ordered = sorted(networks, key=lambda network: network.network_address)
    assert not any(one.overlaps(other) for one, other in pairwise(ordered))
    assert not any(network.overlaps(ipaddress.ip_network("10.88.0.0/16")) for network in networks)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.1/16", "10.0.0.0/30", "10.0.0.0/7", "fd00::/64", "a/b", "1.2.3/24"]
)
def test_a_subnet_that_is_none_is_one_clear_error(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an IPv4 network"):
        bridge.check_subnet(text)


def test_every_root_has_names_of_its_own_that_fit() -> None:
    configs = [Config(), Config(state="/tmp/a/state"), Config(state="/tmp/b/state")]
    assert len({bridge.link_name(config) for config in configs}) == 3
    assert len({bridge.table_name(config) for config in configs}) == 3
    assert all(len(bridge.link_name(config)) <= 15 for config in configs)
    assert (bridge.link_name(configs[0]), bridge.table_name(configs[0])) == ("twinhull0", "twinhull")


@pytest.mark.parametrize("guest", [False, True])
def test_plans_are_what_the_op_table_allows(guest: bool) -> None:
    published = [Port("0.0.0.0", 8080, 80), Port("::1", 8080, 80)]
    for ops in (*endpoint.plan_endpoints(CONFIG, (PLACE,), published, guest=guest), *alone.plan_none(guest=guest)):
        assert codec.decode(codec.encode(ops)) == ops


def test_a_container_is_connected_in_two_sends() -> None:
    host, undo = endpoint.plan_endpoints(CONFIG, (PLACE,))
    assert [op.name for op in host] == ["netns", "netlink", "netlink-inside"]
    assert [op.name for op in undo] == ["remove-file", "end-service"]


def test_ports_are_held_before_anything_is_made() -> None:
    host, _ = endpoint.plan_endpoints(CONFIG, (PLACE,), [Port("0.0.0.0", 8080, 80)])
    assert [op.name for op in host] == ["hold-port", "netns", "netlink", "netlink-inside", "nftables"]


def test_resolv_conf_names_the_gateway_and_keeps_the_search_list() -> None:
    host = "# by hand\nnameserver 127.0.0.53\nsearch corp.example lan\noptions edns0 ndots:5 trust-ad\n"
    expected = "nameserver 10.87.0.1\nsearch corp.example lan\noptions edns0 trust-ad ndots:0\n"
    assert etc.workload_resolv_conf("10.87.0.1", host) == expected
    assert etc.servers_of(host) == ["127.0.0.53"]
    assert etc.servers_of("nameserver fe80::1%eth0\nnameserver\n") == ["fe80::1"]


def test_hosts_holds_the_workloads_own_name() -> None:
    assert etc.hosts_file((PLACE,), "web").splitlines()[-1] == "10.87.0.2\tweb"
    assert etc.hosts_file((), "web").splitlines()[-1] == "127.0.1.1\tweb"


@pytest.mark.parametrize("name", ["", "a b", "a\n10.0.0.1 b", "-a", "a.", ".a", "a#b", "a/b", "x" * 300])
def test_a_name_that_no_resolver_asks_for_is_not_published(name: str) -> None:
    assert not dns.is_askable(name)
