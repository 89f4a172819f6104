"""What is said to CRIU, as bytes; and what of a container's mounts it is told of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.plan import checkpoint, criu
from twinhull.plan.bundle_cgroups import Cgroup
from twinhull.plan.ops import Op

MOUNTINFO = """\
10 1 8:1 /root / rw,relatime - ext4 /dev/vda rw
11 10 0:5 / /proc rw,relatime - proc proc rw
12 10 8:1 /srv/a\\040b /data ro,nosuid,noatime - ext4 /dev/vda rw
13 12 8:2 / /data/below rw,relatime - ext4 /dev/vdb rw
14 10 0:6 / /groups rw - tmpfs tmpfs rw
15 14 0:7 /c /groups/cpu ro - cgroup cgroup rw,cpu,cpuacct
16 14 0:8 /c /groups/unified ro - cgroup2 cgroup2 rw
17 11 0:9 /null /proc/keys rw,noexec - devtmpfs devtmpfs rw
"""
SPEC = {"mounts": [{"destination": "/link", "type": "bind", "source": "/srv/a b", "options": ["rbind"]}]}
GROUP = Cgroup("/sys/v2/new", (("cpu", "/sys/cpu/new"),))


def kept() -> list[checkpoint.Kept]:
    return list(checkpoint.keep(checkpoint.mounts(MOUNTINFO), {"/data": "/link"}, lambda path: path != "/proc/keys"))


def test_a_request_is_what_the_protocol_buffers_of_rpc_proto_are() -> None:
    options: dict[str, criu.Value] = {
        "images_dir_fd": 5,
        "pid": 300,
        "leave_running": True,
        "external": ["a", "b"],
        "inherit_fd": [{"key": "pipe:[1]", "fd": 1}],
    }
    opts = b"\x08\x05\x10\xac\x02\x18\x01\xaa\x02\x01a\xaa\x02\x01b\xda\x01\x0c\x0a\x08pipe:[1]\x10\x01"
    assert criu.request(criu.DUMP, options) == b"\x08\x01\x12" + bytes([len(opts)]) + opts
    assert criu.consent() == b"\x08\x06\x18\x01"


def test_an_answer_has_its_kind_its_script_and_its_pid() -> None:
    assert criu.answer(b"\x08\x06\x10\x01\x2a\x07\x0a\x03abc\x10\x07") == criu.Answer(criu.NOTIFY, True, "abc", 7)
    assert criu.answer(b"\x08\x02\x10\x01\x22\x03\x08\xac\x02") == criu.Answer(criu.RESTORE, True, "", 300)
    assert not criu.answer(b"\x08\x01\x10\x00\x4a\x02no").success


@given(st.binary(max_size=64))
def test_bytes_that_are_no_message_are_an_error_and_nothing_else(content: bytes) -> None:
    try:
        criu.answer(content)
    except ValueError:
        pass


@given(st.integers(0, 2**64 - 1))
def test_a_number_comes_back(number: int) -> None:
    assert criu.read_varint(criu.varint(number), 0) == (number, len(criu.varint(number)))


def test_a_mount_is_the_host_s_or_criu_s() -> None:
    found = {row.point: (row.origin, row.name, row.rest, row.below) for row in kept()}
    assert found == {
        "/proc": ("", "", "", "/"),
        "/data": ("bind", "/link", "", "/"),
        "/data/below": ("bind", "/link", "/below", "/data"),
        "/groups": ("", "", "", "/"),
        "/groups/cpu": ("groups", "cpu", "", "/groups"),
        "/groups/unified": ("groups", "", "", "/groups"),
        "/proc/keys": ("node", "/null", "", "/proc"),
    }


def test_each_of_the_host_s_is_bound_with_its_flags_from_what_the_bundle_says_now() -> None:
    sources = checkpoint.sources(kept(), SPEC, "/bundle", "/bundle/rootfs", GROUP)
    assert sources == {
        "/data": "/srv/a b",
        "/data/below": "/srv/a b/below",
        "/groups/cpu": "/sys/cpu/new",
        "/groups/unified": "/sys/v2/new",
        "/proc/keys": "/dev/null",
    }
    ops, staged = checkpoint.stage(kept(), sources, "/r", "/s")
    assert staged["/data"] == "/s/0"
    assert ops[1:4] == [
        Op("bind", ("/r", "/s/root", 1, 0)),
        Op("bind", ("/srv/a b", "/s/0", 0, 0)),
        Op("attributes", ("/s/0", 0x1 | 0x2 | 0x10, 0x70, 0, 0)),
    ]
    assert list(checkpoint.places(kept(), sources, "/r")) == [
        ("/r", "/proc", True),
        ("/r", "/data", True),
        ("/srv/a b", "/below", True),
        ("/r", "/groups", True),
    ]


def test_what_a_bundle_or_a_machine_has_not_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="a bind at /link"):
        checkpoint.sources(kept(), {"mounts": []}, "/b", "/r", GROUP)
    with pytest.raises(InvalidRequest, match="no cgroup hierarchy 'cpu'"):
        checkpoint.sources(kept(), SPEC, "/b", "/r", GROUP._replace(legacy=()))
    mapped = checkpoint.mounts(MOUNTINFO.replace("ro,nosuid,noatime", "rw,relatime,idmapped"))
    with pytest.raises(UnsupportedSpec, match="/data is seen through maps"):
        list(checkpoint.keep(mapped, {"/data": "/link"}, lambda path: True))


def test_a_stream_of_the_container_s_own_needs_nothing() -> None:
    assert checkpoint.stream_key("pipe:[7]", 3, 7, [1, 2]) == "pipe:[7]"
    assert checkpoint.stream_key("/dev/null", 3, 0x1F, [1, 2]) == "file[3:1f]"
    assert checkpoint.stream_key("/dev/pts/0", 2, 3, [1, 2]) == ""
