"""The ops of the host stage: cgroups, network and descriptors, judged by the kernel's own lists."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.answers import free_port
from tests.support.launch import MOUNTS, Launch
from twinhull.errors import LaunchError
from twinhull.plan import netlink
from twinhull.plan.devices import compile_devices
from twinhull.plan.ops import NETNS_FD, Op

IFF_UP = 1
IN_MODIFY = 2
LIBC = ctypes.CDLL(None, use_errno=True)
UNIFIED = next(
    line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line
)


LOOPBACK_UP = netlink.link_up(netlink.LOOPBACK_INDEX, ack=True)


@pytest.fixture
def leaf(launch: Launch) -> Iterator[str]:
    """A path for a v2 leaf; what a test left of it is removed."""
    path = f"{UNIFIED}/twinhull-test-{os.getpid()}/leaf"
    yield path
    assert launch.undo(Op("kill-cgroup", (path,)), Op("remove-cgroup", (os.path.dirname(path),))).exit_code == 0


def controller(name: str) -> str:
    """The directory of a v1 controller; a machine that has none is not tested for it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup ") and name in right.split()[2].split(","):
            return left.split()[4]
    pytest.skip(f"no v1 {name} controller here")


def test_the_child_is_born_in_the_v2_leaf_and_sees_it_as_the_root(launch: Launch, leaf: str) -> None:
    plan = [Op("cgroup2", (leaf,)), *launch.root(mounts=MOUNTS)]
    with launch.start(plan, "sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup; echo end; read x") as process:
        assert process.stdout
        lines = list(iter(process.stdout.readline, "end\n"))
        members = Path(leaf, "cgroup.procs").read_text().split()
        process.communicate("\n")
    assert len(members) == 1
    assert "0::/\n" in lines
    assert "cgroup.procs\n" in lines


def test_the_child_enters_each_v1_group_with_its_limits(launch: Launch) -> None:
    groups = [f"{controller(name)}/twinhull-test-{os.getpid()}/one" for name in ("pids", "cpuset", "memory")]
    limit = Op("write", (f"{groups[0]}/pids.max", "33"))
    undo = [Op("remove-cgroup", (os.path.dirname(path),)) for path in groups]
    out = launch(
        [*[Op("cgroup1", (path,)) for path in groups], limit, *launch.outside(), Op("environment", ("PATH=/bin",)),
         *[Op("argument", (word,)) for word in ("cat", "/proc/self/cgroup", f"{groups[0]}/pids.max")],
         Op("exec", ("cat",)), *undo]
    )  # fmt: skip
    assert sum(line.endswith("/one") for line in out.splitlines()) == 0, "the cgroup namespace hides the path"
    assert out.splitlines()[-1] == "33"
    assert not any(os.path.exists(os.path.dirname(path)) for path in groups)


def test_the_child_enters_a_v1_group_without_the_lock_that_waits_for_every_processor(launch: Launch) -> None:
    """A write to cgroup.procs takes cgroup_threadgroup_rwsem, 16 ms on two processors; "0" to tasks does not."""
    group = f"{controller('pids')}/twinhull-test-{os.getpid()}"
    os.mkdir(group)
    watch = LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    assert LIBC.inotify_add_watch(watch, group.encode(), IN_MODIFY) > 0
    try:
        launch([Op("cgroup1", (group,)), *launch.outside()], "true")
        written = os.read(watch, 65536)
    finally:
        os.close(watch)
        assert launch.undo(Op("remove-cgroup", (group,))).exit_code == 0
    assert b"tasks\0" in written
    assert b"cgroup.procs\0" not in written


def test_v1_membership_is_seen_without_a_cgroup_namespace(launch: Launch) -> None:
    group = f"{controller('pids')}/twinhull-test-{os.getpid()}"
    out = launch([Op("cgroup1", (group,)), *launch.outside(0x20000)], "cat", "/proc/self/cgroup")
    assert f":pids:/twinhull-test-{os.getpid()}\n" in out
    assert launch.undo(Op("remove-cgroup", (group,))).exit_code == 0


def test_a_value_that_the_kernel_refuses_is_an_error_with_the_file(launch: Launch, leaf: str) -> None:
    with pytest.raises(LaunchError) as caught:
        launch([Op("cgroup2", (leaf,)), Op("write", (f"{leaf}/cgroup.freeze", "nonsense"))], "true")
    assert (caught.value.op, caught.value.target) == ("write", f"{leaf}/cgroup.freeze")
    assert caught.value.errno == errno.EINVAL


def test_the_device_policy_decides_what_can_be_opened(launch: Launch, leaf: str) -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    ]
    plan = [Op("cgroup2", (leaf,)), Op("device-policy", (compile_devices(rules),))]
    root = launch.root(mounts=MOUNTS)
    script = "echo x > /dev/null; echo $?; head -c1 /dev/zero >/dev/null 2>&1; echo $?; mknod /dev/kmsg c 1 11; echo $?"
    assert launch([*plan, *root], "sh", "-c", script) == "0\n1\n0\n"


def test_a_program_that_is_none_is_refused(launch: Launch, leaf: str) -> None:
    with pytest.raises(LaunchError) as caught:
        launch([Op("cgroup2", (leaf,)), Op("device-policy", (b"\0" * 8,))], "true")
    assert caught.value.op == "device-policy"


def test_the_workload_has_a_network_of_its_own_with_its_link_and_loopback(launch: Launch) -> None:
    name = f"thtest{os.getpid() % 100000}"
    veth = netlink.make_veth(name, mac="02:00:00:00:00:01", namespace_fd=NETNS_FD) + netlink.join_bridge("lo", 0)
    plan = [Op("netns"), Op("netlink", (veth, 1)), Op("netlink-inside", (LOOPBACK_UP, 1))]
    out = launch([*plan, *launch.root(mounts=MOUNTS)], "sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/flags")
    assert out.split() == ["eth0", "lo", "0x9"]


def test_a_refused_message_is_the_kernel_s_error(launch: Launch) -> None:
    loopback = netlink.make_bridge("lo", mac="02:00:00:00:00:01")
    for plan in ([Op("netlink", (loopback, 1))], [Op("netns"), Op("netlink-inside", (loopback, 1))]):
        with pytest.raises(LaunchError) as caught:
            launch([*plan, *launch.outside()], "/bin/true")
        assert caught.value.op == plan[-1].name
        assert caught.value.errno in (errno.EEXIST, errno.EOPNOTSUPP)


def test_the_launcher_s_own_network_is_as_before_after_work_inside(launch: Launch) -> None:
    plan = [Op("netns"), Op("netlink-inside", (LOOPBACK_UP, 1))]
    with launch.start([*plan, *launch.outside()], "/bin/cat") as process:
        inside = children_network(process.pid)
        assert os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net")
        assert inside != os.readlink("/proc/self/ns/net")
        process.communicate("")


def children_network(pid: int) -> str:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "cat":
                return os.readlink(f"/proc/{child}/ns/net")
        time.sleep(0.005)
    raise AssertionError("the child did not come up")


def listen(sock: socket.socket, address: str, port: int) -> None:
    """As any server does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen()


@pytest.mark.parametrize("address", ["127.0.0.1", "", "::1"])
def test_a_held_port_is_taken_and_does_not_answer(launch: Launch, address: str) -> None:
    port = free_port()
    with launch.start([Op("hold-port", ("tcp", address, port)), *launch.outside()], "/bin/cat") as process:
        children_network(process.pid)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as other:
            with pytest.raises(OSError, match=str(errno.EADDRINUSE)):
                listen(other, address or "0.0.0.0", port)
        with socket.socket(family) as client, pytest.raises(ConnectionRefusedError):
            client.connect((address or "127.0.0.1", port))
        process.communicate("")


@pytest.mark.parametrize("kind", [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_port_in_use_is_an_error_with_the_port(launch: Launch, kind: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, kind[1]) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        if kind[0] == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError) as caught:
            launch([Op("hold-port", (kind[0], "127.0.0.1", port)), *launch.outside()], "/bin/true")
    assert (caught.value.op, caught.value.target, caught.value.errno) == ("hold-port", str(port), errno.EADDRINUSE)


def test_a_port_that_only_closed_connections_remember_can_be_held(launch: Launch) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0] as accepted:
            accepted.shutdown(socket.SHUT_RDWR)  # the server's side closes first and waits
    with launch.start([Op("hold-port", ("tcp", "127.0.0.1", port)), *launch.outside()], "/bin/cat") as process:
        children_network(process.pid)
        with socket.socket() as other:
            with pytest.raises(OSError, match=str(errno.EADDRINUSE)):
                listen(other, "127.0.0.1", port)
        process.communicate("")


def test_a_tap_is_made_up_with_its_descriptor_in_the_child(launch: Launch) -> None:
    plan = [Op("netns"), Op("tap", (10, "tap0", 7))]
    out = launch(
        [*plan, *launch.root(mounts=MOUNTS)],
        *("sh", "-c", "cd /sys/class/net/tap0; cat flags tun_flags ifindex; cat /proc/self/fdinfo/10"),
    ).splitlines()
    assert int(out[0], 16) & IFF_UP
    assert int(out[1], 16) & 0x5002 == 0x5002, "IFF_TAP, IFF_NO_PI and IFF_VNET_HDR"
    assert out[2] == "7"
    assert "iff:\ttap0" in out


def test_a_file_of_the_host_is_open_in_the_child_at_its_number(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("content")
    op = Op("open", (20, str(tmp_path / "disk"), os.O_RDONLY))
    assert launch([op, *launch.root()], "sh", "-c", "cat <&20; ls -v /proc/1/fd; true") == "content0\n1\n2\n20\n"


def test_an_open_never_makes_the_file(launch: Launch, tmp_path: Path) -> None:
    op = Op("open", (20, str(tmp_path / "absent"), os.O_RDWR | os.O_CREAT))
    with pytest.raises(LaunchError) as caught:
        launch([op, *launch.outside()], "/bin/true")
    assert (caught.value.op, caught.value.errno) == ("open", errno.ENOENT)


def test_a_listening_socket_lies_in_the_instance_directory(launch: Launch) -> None:
    with launch.start([Op("listen", (12, "qmp")), *launch.root()], "sh", "-c", "ls -v /proc/1/fd; read x") as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(4)] == ["0\n", "1\n", "2\n", "12\n"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(launch.scratch / "qmp"))
        process.communicate("\n")


def test_a_channel_s_other_end_stays_with_the_launcher(launch: Launch) -> None:
    with launch.start([Op("channel", (11,)), *launch.root()], "sh", "-c", "readlink /proc/1/fd/11; read x") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("socket:")
        process.communicate("\n")


def test_an_inherited_descriptor_passes_through(launch: Launch) -> None:
    read_end, write_end = os.pipe()
    number = 30
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read_end)
        os.dup2(write_end, number)
        os.close(write_end)
        with launch.start(
            [Op("inherit", (number,)), *launch.root()], "sh", "-c", "echo x >&30", inherit=[number]
        ) as process:
            os.close(number)
            process.communicate("")
        assert os.read(read_end, 10) == b"x\n"
        assert os.read(read_end, 10) == b"", "no other copy is open"


def test_a_descriptor_that_is_not_there_is_an_error(launch: Launch) -> None:
    with pytest.raises(LaunchError) as caught:
        launch([Op("inherit", (33,)), *launch.outside()], "/bin/true")
    assert (caught.value.op, caught.value.target, caught.value.errno) == ("inherit", "33", errno.EBADF)
