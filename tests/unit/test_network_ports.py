"""What -p may look like, and what the kernel's maps are told of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import InvalidRequest
from twinhull.model import Endpoint, Port
from twinhull.network import ports

PLACE = Endpoint("bridge", "br0", 3, "10.87.0.2", 16, "10.87.0.1", "02:74:0a:57:00:02", "tw0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [Port("", 0, 80)]),
        ("8080:80", [Port("", 8080, 80)]),
        ("0:80", [Port("", 0, 80)]),
        ("127.0.0.1:0:80/udp", [Port("127.0.0.1", 0, 80, "udp")]),
        ("8080:80/tcp", [Port("", 8080, 80)]),
        ("53:53/udp", [Port("", 53, 53, "udp")]),
        ("127.0.0.1:8080:80", [Port("127.0.0.1", 8080, 80)]),
        ("127.0.0.1::80", [Port("127.0.0.1", 0, 80)]),
        ("[::1]:8080:80", [Port("::1", 8080, 80)]),
        ("[::1]::80", [Port("::1", 0, 80)]),
        ("8000-8002:80-82", [Port("", 8000, 80), Port("", 8001, 81), Port("", 8002, 82)]),
        ("80-81", [Port("", 0, 80), Port("", 0, 81)]),
    ],
)
def test_each_form_is_understood(text: str, expected: list[Port]) -> None:
    assert list(ports.parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":80", "80:", "80:0", "65536:80", "80:65536", "a:80", "80:a", "-1:80", "8080:80/sctp"),
        *("1-2:3", "2-1:2-1", "1-300:1-300", "1.2.3:80:80", "1.2.3.4.5:1:1", "::1:80:80", "[::1:80", "[1.2.3.4]:1:1"),
        *("999.1.1.1:80:80", "１:80", "8080:80/", "8080:80/tcp/udp", "1:2:3:4"),
    ],
)
def test_anything_else_is_one_clear_error(text: str) -> None:
    if text == "8080:80/":
        assert ports.parse(text) == (Port("", 8080, 80),)
        return
    with pytest.raises(InvalidRequest, match="invalid port") as caught:
        ports.parse(text)
    assert caught.value.hint


@given(st.text(max_size=30))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        parsed = ports.parse(text)
    except InvalidRequest:
        return
    assert all(0 < port.port <= 65535 and 0 <= port.host_port <= 65535 for port in parsed)


@given(st.integers(1, 65535), st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))
def test_what_is_written_is_what_is_parsed(host: int, inside: int, protocol: str) -> None:
    (port,) = ports.parse(f"10.1.2.3:{host}:{inside}/{protocol}")
    assert port == ("10.1.2.3", host, inside, protocol)


def test_a_port_on_every_address_and_one_on_its_own_go_into_different_maps() -> None:
    everywhere, single = ports.elements("10.87.0.2", [Port("0.0.0.0", 8080, 80), Port("192.0.2.1", 53, 54, "udp")])
    assert everywhere == ("published", b"\6\0\0\0\x1f\x90\0\0", b"\x0a\x57\0\2\0\x50\0\0")
    assert single == ("published_on", b"\xc0\0\2\1\x11\0\0\0\0\x35\0\0", b"\x0a\x57\0\2\0\x36\0\0")


def test_an_ipv6_port_goes_through_the_proxy_and_into_no_map() -> None:
    published = [Port("::1", 8080, 80)]
    assert ports.add_ops("twinhull", PLACE, published) == ()
    assert ports.hold_ops(published) == ()
    (op,) = ports.proxy_ops(PLACE, published)
    assert op.args == ("::1", 8080, "10.87.0.2", 80)


def test_each_port_is_deleted_on_its_own() -> None:
    published = [Port("0.0.0.0", 8080, 80), Port("0.0.0.0", 8081, 80)]
    assert len(ports.add_ops("twinhull", PLACE, published)) == 1
    assert len(ports.delete_ops("twinhull", PLACE, published)) == 2


def test_exposed_ports_are_named_by_number_range_and_protocol() -> None:
    found = ports.exposed(["80/tcp", "80", "53/udp", "7000-7002"])
    assert [(port.port, port.protocol) for port in found] == [
        (80, "tcp"),
        (53, "udp"),
        (7000, "tcp"),
        (7001, "tcp"),
        (7002, "tcp"),
    ]
    assert all(port.host_port == 0 for port in found)
    for text in ("", "x", "0", "80/sctp", "9-8", "65536"):
        with pytest.raises(InvalidRequest, match="invalid port"):
            ports.exposed([text])
