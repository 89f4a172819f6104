"""A bundle as a virtual machine: what is shared, what is refused, and the links of a namespace as a guest's cards."""

from __future__ import annotations

from pathlib import Path
from struct import pack
from typing import Any

import pytest

from twinhull.errors import CommandNotFound, UnsupportedSpec
from twinhull.model import Facts, Volume
from twinhull.plan import netlink
from twinhull.plan.bundle import Bundle
from twinhull.plan.bundle_cgroups import Cgroup
from twinhull.plan.bundle_guest import Guest, compile_guest, sandbox_of
from twinhull.plan.interfaces import LINK_TYPE, RTA_MULTIPATH, guest_ops, interfaces
from twinhull.plan.ops import Op
from twinhull.runtime.oci.lookup import require_program

KINDS = ("pid", "network", "ipc", "uts", "mount")


def guest_of(**changes: Any) -> Guest:
    spec = {
        "process": {"args": ["true"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": kind} for kind in KINDS]},
        **changes,
    }
    return compile_guest(spec, Facts(), Bundle("/bundle", "/bundle/rootfs", Cgroup("", ()), {}))


def test_the_root_is_the_first_share_and_binds_follow_in_their_order() -> None:
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/a", "source": "relative", "options": ["bind", "ro"]},
        {"destination": "/dev/shm", "type": "bind", "source": "/run/shm", "options": ["rbind"]},
        {"destination": "/b", "type": "bind", "source": "/host/b", "options": ["rbind"]},
    ]
    guest = guest_of(mounts=mounts)
    assert guest.shares == (
        Volume("/bundle/rootfs", "/"),
        Volume("/bundle/relative", "/a", readonly=True),
        Volume("/host/b", "/b"),
    )
    ops = list(guest.plan.child)
    assert [op.args[:2] for op in ops if op.name == "share"] == [("volume1", "/a"), ("volume2", "/b")]
    assert Op("filesystem", ("tmpfs", "shm", "/dev/shm", 0, "mode=1777")) in ops


@pytest.mark.parametrize("kind", ["mount", "ipc", "uts", "pid"])
def test_a_namespace_of_the_hosts_is_refused_but_that_of_the_pod_it_is_in(kind: str) -> None:
    joined = {"type": kind, "path": "/proc/1/ns/x"}
    linux = {"namespaces": [joined if name == kind else {"type": name} for name in KINDS]}
    with pytest.raises(UnsupportedSpec, match=f"join a {kind} namespace"):
        guest_of(linux=linux)
    pod = {"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "s"}
    if kind == "mount":
        with pytest.raises(UnsupportedSpec):
            guest_of(linux=linux, annotations=pod)
    else:
        guest_of(linux=linux, annotations=pod)


def test_a_sandbox_belongs_to_no_sandbox() -> None:
    assert sandbox_of({"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "s"}) == ""
    assert sandbox_of({"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "s"}) == "s"


def link(index: int, *, kind: int = 1, flags: int = netlink.IFF_UP) -> bytes:
    held = netlink.text(netlink.IFLA_IFNAME, f"l{index}") + netlink.attribute(netlink.IFLA_ADDRESS, bytes(6))
    return LINK_TYPE.pack(0, kind, index, flags, 0) + held + netlink.number(4, 1500)


def route(*attributes: bytes) -> bytes:
    return netlink.ROUTE.pack(netlink.AF_INET, 0, 0, 0, netlink.RT_TABLE_MAIN, 3, 0, netlink.RTN_UNICAST, 0) + b"".join(
        attributes
    )


def test_links_that_are_down_and_the_loopback_become_no_cards() -> None:
    found = interfaces([link(1, kind=772), link(7), link(8, flags=0)], [], [])
    assert [card.number for card in found.links] == [7]


def test_without_links_the_only_card_is_down() -> None:
    (op,) = guest_ops(interfaces([], [], []))
    assert netlink.link_down(netlink.GUEST_INDEX, ack=True) in bytes(op.args[0])  # type: ignore[arg-type]  # bytes


def test_a_route_over_several_links_is_refused() -> None:
    with pytest.raises(UnsupportedSpec, match="several next hops"):
        interfaces([link(7)], [], [route(netlink.attribute(RTA_MULTIPATH, bytes(8)))])


def test_a_route_by_a_gateway_comes_after_the_one_that_leads_to_it() -> None:
    out = netlink.number(netlink.RTA_OIF, 7)
    by = route(netlink.attribute(netlink.RTA_GATEWAY, pack("4B", 10, 0, 0, 1)), out)
    to = route(netlink.attribute(netlink.RTA_DST, pack("4B", 10, 0, 0, 1)), out)
    (op,) = guest_ops(interfaces([link(7)], [], [by, to]))
    sent = bytes(op.args[0])  # type: ignore[arg-type]  # bytes
    gateway = netlink.attribute(netlink.RTA_GATEWAY, pack("4B", 10, 0, 0, 1))
    destination = netlink.attribute(netlink.RTA_DST, pack("4B", 10, 0, 0, 1))
    assert sent.index(destination) < sent.index(gateway)


def test_a_program_is_looked_for_where_the_root_is_the_root(tmp_path: Path) -> None:
    def there(word: str, **more: Any) -> bool:
        try:
            require_program(
                {"process": {"args": [word], "cwd": "/", "env": ["PATH=/bin:/more"]}, **more}, str(tmp_path)
            )
        except CommandNotFound:
            return False
        return True

    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/tool").touch()
    (tmp_path / "bin").symlink_to("usr")
    (tmp_path / "usr/outside").symlink_to("/bin/sh")  # of this root, where there is none
    (tmp_path / "usr/circle").symlink_to("circle")
    (tmp_path / "usr/up").symlink_to("../../../usr/tool")
    assert [there(word) for word in ("tool", "up", "/bin/tool", "usr/tool")] == [True] * 4
    assert [there(word) for word in ("none", "outside", "circle", "/usr/bin/env")] == [False] * 4
    assert there("none", mounts=[{"destination": "/more"}])  # who knows what is there
