"""What of a workload a copy keeps, and what makes it another machine."""

from __future__ import annotations

import pytest

from twinhull.cli.verbs import every_verb, resolve
from twinhull.engine import forking
from twinhull.errors import InvalidRequest
from twinhull.model import Attachment, Endpoint, Instance, Port, Request, Volume
from twinhull.plan import netlink
from twinhull.plan.codec import decode, encode
from twinhull.store import db, instances, removal, snapshots

HERE = Endpoint(
    "bridge", "th0", 3, "10.0.0.2", 20, "10.0.0.1", "02:00:00:00:00:02", "v1", address6="fd00::2", gateway6="fd00::1"
)
THERE = HERE._replace(address="10.0.0.3", mac="02:00:00:00:00:03", host_link="v2", address6="fd00::3")
ROW = Instance(
    "ab" * 32, "web", "busybox", "sha256:0", "vm", 1.0, ("sh",), "{}", 2.0, "boot", (HERE,), (), False, "tcg"
)
COPY = ROW._replace(id="cd" * 32, name="copy", endpoints=(THERE,))


def test_a_copy_asks_for_nothing_that_only_one_can_have() -> None:
    wanted = Request(
        "busybox",
        hostname="web",
        mac="02:00:00:00:00:09",
        ports=(Port("", 80, 80),),
        publish_all=True,
        attachments=(Attachment("back", "10.0.0.9", ("db",), "fd00::9"),),
        memory_bytes=1 << 28,
        labels=(("a", "b"),),
    )
    plain = Request(
        "busybox", attachments=(Attachment("back", "", ("db",)),), memory_bytes=1 << 28, labels=(("a", "b"),)
    )
    assert forking.request_of_copy(wanted) == plain


@pytest.mark.parametrize(
    ("name", "count", "names"), [("", 1, [""]), ("web", 1, ["web"]), ("", 2, ["", ""]), ("web", 2, ["web-1", "web-2"])]
)
def test_names_of_copies(name: str, count: int, names: list[str]) -> None:
    assert forking.copy_names(name, count) == names


@pytest.mark.parametrize(("name", "count"), [("web", 0), ("a b", 1), ("x", 1)])
def test_names_that_are_none_are_refused(name: str, count: int) -> None:
    with pytest.raises(InvalidRequest):
        forking.copy_names(name, count)


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (Request("i"), ""),
        (Request("i", network="none"), ""),
        (Request("i", volumes=(Volume("/a", "/b"),)), "volume"),
        (Request("i", attachments=(Attachment("a"), Attachment("b"))), "several"),
        (Request("i", readonly=True), "read-only"),
    ],
)
def test_what_cannot_be_copied_says_why(request_: Request, word: str) -> None:
    reason = forking.obstacle(request_)
    assert word in reason and bool(word) == bool(reason)


def test_addresses_go_before_others_come() -> None:
    first, second, third = forking.moving((HERE,), (THERE,))
    assert first == (netlink.remove_address(netlink.GUEST_INDEX, "10.0.0.2", 20), 1)
    assert second == (netlink.remove_address(netlink.GUEST_INDEX, "fd00::2", 64), 1)
    for part in (netlink.pack_address("10.0.0.3"), netlink.pack_address("fd00::3"), netlink.pack_mac(THERE.mac)):
        assert part in third[0]
    assert list(forking.moving((), ())) == []


def test_the_identity_is_a_plan_that_ends_in_a_tool() -> None:
    plan = forking.identity_plan(ROW, COPY, Request("busybox", isolation="vm"))
    assert decode(encode(plan)) == plan
    names = [op.name for op in plan]
    assert names[0] == "namespaces" and names[-1] == "tool" and "exec" not in names
    written = {op.args[0]: op.args[1] for op in plan if op.name == "file"}
    assert written["/etc/hostname"] == b"cdcdcdcdcdcd\n" and written["/etc/machine-id"] == b"cd" * 16 + b"\n"
    hosts = written["/etc/hosts"]
    assert isinstance(hosts, bytes) and b"10.0.0.3" in hosts and b"10.0.0.2" not in hosts


def test_a_group_may_be_a_command_too() -> None:
    name, row, rest = resolve(["snapshot", "web", "one"])
    assert row and (name, row.function, rest) == ("snapshot", "snapshot", ["web", "one"])
    assert resolve(["snapshot", "ls", "-q"])[2] == ["-q"]
    assert {"snapshot", "snapshot ls", "snapshot rm"} <= dict(every_verb()).keys()
    assert "network" not in dict(every_verb())


def test_a_snapshots_row_says_what_it_was_taken_of(tmp_path: object) -> None:
    home = db.connect(f"{tmp_path}/db", lambda _: f"{instances.SCHEMA};\n{snapshots.SCHEMA}")
    row = snapshots.Snapshot(
        "1", "web", "one", 3.0, ROW._replace(endpoints=()), "key", "digest", {"pages": "sum"}, 4096
    )
    snapshots.insert(home, row)
    assert snapshots.find(home, "web:one") == row == snapshots.everything(home)[0]
    assert removal.workloads(home, "sha256:0") == ["web:one"], "its image stays"
    with pytest.raises(Exception, match="there is a snapshot web:one"):
        snapshots.insert(home, row._replace(id="2"))
    snapshots.delete(home, "1")
    assert not snapshots.is_known(home, "1")
    home.close()
