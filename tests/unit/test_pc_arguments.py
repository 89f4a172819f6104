"""QEMU's command line of a machine and the jail around it, as data."""

from __future__ import annotations

import json
from typing import Any

from twinhull.config import Config
from twinhull.model import Disk, Endpoint, Facts
from twinhull.network import dhcp
from twinhull.plan import pc
from twinhull.plan.jail import Jail, jail_plan, jail_user
from twinhull.plan.ops import Op, Plan

COMPUTER = pc.Computer("tcg", 2, 1 << 30, "02:74:0a:57:00:02")
FACTS = Facts(cgroup2="/sys/fs/cgroup", cgroup2_controllers=("cpu", "memory", "pids"), max_files=1 << 20)
ENDPOINT = Endpoint("bridge", "tw0", 3, "10.87.0.2", 16, "10.87.0.1", "02:74:0a:57:00:02", "twabc")


def argv(computer: pc.Computer = COMPUTER) -> tuple[str, ...]:
    return pc.arguments(computer, binary="/usr/bin/qemu")


def blocks() -> list[dict[str, Any]]:
    words = argv()
    return [json.loads(words[index + 1]) for index, word in enumerate(words) if word == "-blockdev"]


def plan(**changes: Any) -> Plan:
    jail = Jail("0123456789abcdef", "/twinhull/x", "/root", argv(), b"filter", sockets=pc.SOCKETS, terminal=(24, 80))
    return jail_plan(jail._replace(**changes), FACTS)


def test_no_argument_names_a_path_of_the_host() -> None:
    assert [word for word in argv()[1:] if "/" in word and "/dev/fdset/" not in word] == []


def test_qemu_is_sandboxed_and_has_no_default_device() -> None:
    words = argv()
    assert words[words.index("-sandbox") + 1].startswith("on,obsolete=deny,elevateprivileges=deny,spawn=deny")
    assert {"-nodefaults", "-no-user-config"} <= set(words)


def test_the_given_disk_is_read_only_and_nothing_lies_beneath_it_whatever_it_says() -> None:
    given, overlay = blocks()
    assert (given["read-only"], given["file"]["read-only"]) == (True, True)
    assert "backing" in given and given["backing"] is None
    assert overlay["backing"] == given["node-name"]


def test_a_guest_may_reset_itself_and_its_end_is_qemus() -> None:
    assert not {"-no-reboot", "-no-shutdown"} & set(argv())


def test_the_monitor_and_the_agents_port_listen_in_the_instance_directory() -> None:
    listening = [op.args for op in plan().host if op.name == "listen"]
    assert listening == [(30, "qmp"), (32, "guest-agent")]
    assert "channel" not in [op.name for op in plan().host], "there is no relay that would hold its other end"


def test_the_terminal_is_made_while_the_launcher_may_and_qemu_cannot_open_another() -> None:
    child = plan().child
    names = [op.name for op in child]
    assert names.index("terminal") < names.index("capabilities") < names.index("user")
    (pts,) = [op.args[-1] for op in child if op.args[:2] == ("devpts", "devpts")]
    assert pts == "newinstance,ptmxmode=0,max=1"


def test_kvm_is_a_node_that_this_qemu_alone_may_open() -> None:
    user = jail_user("0123456789abcdef")
    nodes = [op for op in plan(kvm=(10, 232)).child if op.name == "device"]
    assert nodes[0] == Op("device", ("/dev/kvm", 0o600, 0o020000, 10, 232, user, user))
    assert [node.args[0] for node in nodes] == ["/dev/kvm", "/dev/null"]


def test_a_request_with_a_disk_survives_the_database() -> None:
    from twinhull.model import Request
    from twinhull.store.instances import request_from, request_text

    request = Request("x", isolation="machine", disk=Disk("/x", 1, "a:b"), memory_bytes=1)
    assert request_from(request_text(request)) == request
    assert "disk" not in request_text(Request("x"))


def test_dhcp_answers_known_cards_alone_and_names_only_what_can_be_a_host() -> None:
    assert dhcp.record(ENDPOINT, "box") == "02:74:0a:57:00:02,10.87.0.2,box,infinite\n"
    for name in ("", "a_b", "a.b", "-a", "a,b", "x" * 64, "a\nb"):
        assert dhcp.record(ENDPOINT, name) == "02:74:0a:57:00:02,10.87.0.2,infinite\n"
    words = dhcp.command(ENDPOINT, "/d")
    assert {"--dhcp-range=10.87.0.1,static", "--port=0", "--interface=tw0"} <= set(words)
    assert dhcp.directory_of(Config(), "bridge").endswith("/bridge/dhcp")
