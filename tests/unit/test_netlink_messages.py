"""Messages are well-formed whatever they say: the kernel is not the first to check their lengths."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.host.netlink import split
from twinhull.plan import netlink, nftables
from twinhull.plan.nftables import Chain, Element

links = st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True)
addresses = st.ip_addresses()
elements = st.lists(
    st.builds(
        Element, st.sampled_from(["published", "links"]), st.binary(min_size=1, max_size=40), st.binary(max_size=20)
    ),
    max_size=20,
)


def lengths_add_up(data: bytes) -> int:
    """Walk messages by their lengths; return how many there are."""
    offset = count = 0
    while offset < len(data):
        length = netlink.HEADER.unpack_from(data, offset)[0]
        assert length >= netlink.HEADER.size
        assert length % 4 == 0
        offset, count = offset + length, count + 1
    assert offset == len(data)
    return count


@given(links, links, st.integers(1, 2**31 - 1))
def test_link_messages_add_up(one: str, other: str, index: int) -> None:
    mac = "02:00:00:00:00:01"
    messages = (
        netlink.make_veth(one, mac=mac, namespace_fd=62, name=other)
        + netlink.join_bridge(one, index)
        + netlink.hairpin(one)
        + netlink.link_up(index)
        + netlink.set_mac(one, mac)
        + netlink.redirect(index, 1)
        + netlink.make_bridge(other, mac=mac)
        + netlink.delete_link(one)
    )
    assert lengths_add_up(messages) == 9


@given(addresses, st.integers(1, 2**31 - 1))
def test_addresses_of_both_families_are_packed_as_the_kernel_wants_them(address: object, index: int) -> None:
    family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
    assert netlink.pack_address(str(address)) == socket.inet_pton(family, str(address))
    message = netlink.add_address(index, str(address), 24) + netlink.add_default_route(index, str(address))
    assert lengths_add_up(message) == 2
    assert message[16] == family


@given(elements)
def test_a_batch_has_one_message_for_each_set_between_its_marks(listed: list[Element]) -> None:
    for batch, acks in (nftables.add("table", listed), nftables.delete("table", listed)):
        kinds = [kind for kind, _ in split(batch)]
        assert lengths_add_up(batch) == len(kinds) == acks + 2
        assert (kinds[0], kinds[-1]) == (nftables.BATCH_BEGIN, nftables.BATCH_END)
        assert acks == len({element.set for element in listed})


@given(st.binary(max_size=200))
def test_hostile_attributes_are_refused_not_believed(data: bytes) -> None:
    try:
        found = netlink.attributes_of(data)
    except ValueError:
        return
    assert sum(4 + len(value) for value in found.values()) <= len(data) + 3


def test_a_chain_of_a_dump_is_understood() -> None:
    hook = netlink.nested(nftables.CHAIN_HOOK, netlink.attribute(1, b"\0\0\0\2"), netlink.attribute(2, b"\0\0\0\0"))
    body = nftables.GENERIC.pack(2, 0, 0) + netlink.text(1, "filter") + netlink.attribute(2, bytes(7) + b"\5")
    body += netlink.text(3, "FORWARD") + hook + netlink.attribute(5, b"\0\0\0\0")
    assert nftables.chain_of(body) == Chain(2, "filter", "FORWARD", 5, "forward", True)


def test_a_default_route_is_no_network_of_the_host() -> None:
    header = netlink.ROUTE.pack(2, 0, 0, 0, 254, 3, 0, 1, 0)
    assert netlink.route_of(header + netlink.number(4, 2)) is None
    header = netlink.ROUTE.pack(2, 24, 0, 0, 254, 3, 0, 1, 0)
    assert netlink.route_of(header + netlink.attribute(1, bytes([192, 0, 2, 0]))) == (24, "192.0.2.0", 254)


@pytest.mark.parametrize("text", ["10.0.0.256", "a.b.c.d", "::1::", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        netlink.pack_address(text)
