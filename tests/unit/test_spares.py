"""What a guest in waiting serves, and what is rehearsed with it."""

from __future__ import annotations

from typing import Any

import pytest

from twinhull.config import Config
from twinhull.engine import rehearsing, spares
from twinhull.model import Port, Request, Volume
from twinhull.plan import codec, netlink
from twinhull.plan.frames import HEADER, MAX_PAYLOAD_BYTES, Flag, Kind
from twinhull.plan.guest import rehearsal
from twinhull.plan.qemu import Drives, Machine, arguments

REQUEST = Request("busybox", isolation="vm")
VOLUME = Volume("/srv", "/srv", False)
PORT = Port("127.0.0.1", 8080, 80, "tcp")


@pytest.mark.parametrize("changes", [{}, {"memory_bytes": 1 << 28}, {"tty": True}, {"network": "none"}])
def test_it_serves_what_is_decided_in_the_guest(changes: dict[str, Any]) -> None:
    assert spares.is_eligible(Config(), REQUEST._replace(**changes))


@pytest.mark.parametrize(
    "changes", [{"isolation": "container"}, {"volumes": (VOLUME,)}, {"cpus": 0.5}, {"ports": (PORT,)}, {"boots": True}]
)
def test_it_does_not_serve_what_was_decided_when_its_machine_was_made(changes: dict[str, Any]) -> None:
    assert not spares.is_eligible(Config(), REQUEST._replace(**changes))


@pytest.mark.parametrize("setting", ["vm_spare", "vm_template"])
def test_the_configuration_can_do_without(setting: str) -> None:
    options: dict[str, Any] = {setting: False}
    assert not spares.is_eligible(Config()._replace(**options), REQUEST)


def test_a_rehearsal_is_seed_plan_time_and_start_in_one_payload() -> None:
    plan = rehearsing.rehearsed_plan(Config())
    data = rehearsal(plan, b"seed", 5_000_000_007)
    assert len(data) <= MAX_PAYLOAD_BYTES
    seen = []
    while data:
        length, stream, kind, flags = HEADER.unpack_from(data)
        seen.append((kind, stream, flags, data[HEADER.size : HEADER.size + length]))
        data = data[HEADER.size + length :]
    kinds = [(Kind.SEED, 0, 0), (Kind.PLAN, 0, Flag.LAST), (Kind.TIME, 0, 0), (Kind.START, 0, 0)]
    assert [frame[:3] for frame in seen] == kinds
    assert seen[2][3] == (5).to_bytes(8, "little") + (7).to_bytes(4, "little")
    ops = codec.decode(seen[1][3])
    paths = [op.args[0] for op in ops if op.name == "cgroup2"]
    assert paths == ["/sys/fs/cgroup/twinhull/rehearsal"]


def test_a_rehearsal_takes_its_address_back_before_anything_runs() -> None:
    names = [op.name for op in rehearsing.rehearsed_plan(Config()).child]
    (given, taken) = (op for op in rehearsing.rehearsed_plan(Config()).child if op.name == "network")
    assert names.index("exec") > len(names) - 1 - names[::-1].index("network")
    messages = [op.args[0] for op in (given, taken)]
    assert all(isinstance(message, bytes) and netlink.pack_address("192.0.2.2") in message for message in messages)
    assert isinstance(messages[1], bytes) and netlink.HEADER.unpack_from(messages[1])[1] == netlink.DELADDR


def test_messages_name_a_namespace_by_the_descriptor_that_the_sender_has() -> None:
    made = netlink.make_veth("th1", mac="02:00:00:00:00:01", namespace_fd=62)
    other = netlink.make_veth("th1", mac="02:00:00:00:00:01", namespace_fd=9)
    assert netlink.in_namespace(made, 62, 9) == other


def test_the_disks_of_a_guest_in_waiting_can_be_replaced() -> None:
    drives = Drives(image=False, scratch=False, replaceable=True)
    words = arguments(Machine("tcg", 1, 1 << 28), memory="restored", drives=drives, binary="qemu")
    disks = [word for word in words if "null-co" in word]
    assert len(disks) == 2
    assert all(word.startswith("driver=raw,file.driver=null-co,") for word in disks)
    assert not any(word.startswith(("fd=20", "fd=21")) for word in words)
