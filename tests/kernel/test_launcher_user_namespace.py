"""A container in a user namespace of its own: its root is a user of the host that has nothing there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.kernel.test_launcher_host import LOOPBACK_UP, UNIFIED
from tests.kernel.test_launcher_process import status, wait_for_child
from tests.support.launch import MOUNTS, NAMESPACES, NEWUSER, Launch
from twinhull.errors import LaunchError
from twinhull.plan.ops import Op

FIRST = 100000
MAPS = Op("id-maps", (f"0 {FIRST} 65536\n", f"0 {FIRST} 65536\n"))
HOST = (Op("netns"), Op("netlink-inside", (LOOPBACK_UP, 1)))


def plan(launch: Launch, *ops: Op) -> list[Op]:
    first = [Op("namespaces", (NAMESPACES | NEWUSER,)), MAPS, Op("private-mounts")]
    return [*HOST, *first, launch.overlay(), *MOUNTS, *ops, Op("enter-root"), Op("hostname", ("box",))]


def test_root_inside_is_a_plain_user_of_the_host(launch: Launch) -> None:
    with launch.start(plan(launch), "sh", "-c", "id -u; cat /proc/self/uid_map; hostname; read x") as process:
        assert process.stdout
        lines = [process.stdout.readline().split() for _ in range(3)]
        child = wait_for_child(process.pid, "sh")
        fields = status(Path(f"/proc/{child}/status").read_text())
        process.communicate("\n")
    assert lines == [["0"], ["0", str(FIRST), "65536"], ["box"]]
    assert fields["Uid"].split() == [str(FIRST)] * 4
    assert fields["NSpid"].split()[-1] == "1"


def test_the_image_belongs_to_root_inside_and_is_unchanged_on_disk(launch: Launch) -> None:
    script = "stat -c %u /bin/busybox / /proc/1; touch /made; rm /bin/ls; stat -c %u /made; echo x > /etc"
    (launch.image / "etc").write_text("kept")
    assert launch(plan(launch), "sh", "-c", script).split() == ["0"] * 4
    assert (launch.image / "etc").read_text() == "kept"
    assert (launch.image / "bin/ls").exists()
    assert (launch.image / "bin/busybox").stat().st_uid == 0
    assert (launch.scratch / "changes0/upper/made").stat().st_uid == FIRST


def test_a_file_of_the_host_s_root_is_nobody_s_inside(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    bind = Op("bind", (str(tmp_path / "secret"), "/secret", 0, 0))
    result = launch.result(plan(launch, bind), "sh", "-c", "stat -c %u /secret; cat /secret")
    assert (result.stdout, result.exit_code) == ("65534\n", 1)
    assert "Permission denied" in result.stderr


def test_every_namespace_belongs_to_the_user_namespace(launch: Launch) -> None:
    """So root inside may change what is its own: a link, a mount, a name."""
    script = "hostname other; mount -t tmpfs none /mnt; ip link set lo down; echo ok; mknod /null c 1 3"
    (launch.image / "mnt").mkdir()
    result = launch.result(plan(launch), "sh", "-c", script)
    assert result.stdout == "ok\n"
    assert "mknod: /null: Operation not permitted" in result.stderr


def test_devices_are_the_host_s_own_and_work(launch: Launch) -> None:
    script = "echo x > /dev/null; head -c 3 /dev/zero | od -An -tx1; cat < /dev/full | head -c1 | wc -c"
    assert launch(plan(launch), "sh", "-c", script).split() == ["00", "00", "00", "1"]


def test_masks_and_read_only_paths_hold(launch: Launch) -> None:
    ops = [Op("mask", ("/proc/keys",)), Op("mask", ("/proc/bus",)), Op("read-only", ("/proc/sys",))]
    script = "cat /proc/keys; ls /proc/bus; umount /proc/keys; umount /proc/sys; echo x > /proc/sys/kernel/domainname"
    result = launch.result(plan(launch, *ops), "sh", "-c", script)
    assert result.stdout == ""
    assert result.exit_code == 1


def test_terminals_streams_and_users_work(launch: Launch) -> None:
    user = Op("user", (1000, 1000, b""))
    out = launch([*plan(launch), Op("terminal", (24, 80)), user], "sh", "-c", "tty; id -u; echo x > /dev/tty")
    assert out.split() == ["/dev/pts/0", "1000", "x"]
    assert launch([*plan(launch), user], "sh", "-c", "echo x > /proc/self/fd/1") == "x\n"


def test_a_bound_root_is_seen_by_its_own_root(launch: Launch) -> None:
    for name in ("proc", "dev"):
        (launch.image / name).mkdir()
    ops = [
        Op("namespaces", (NAMESPACES | NEWUSER,)),
        MAPS,
        Op("private-mounts"),
        Op("root-bind", (str(launch.image), 0)),
    ]
    assert launch([*ops, MOUNTS[0], Op("enter-root")], "sh", "-c", "stat -c %u /bin; touch /made") == "0\n"
    assert (launch.image / "made").stat().st_uid == 0


def test_a_process_joins_the_user_namespace(launch: Launch) -> None:
    leaf = f"{UNIFIED}/twinhull-test-{os.getpid()}"
    with launch.start([Op("cgroup2", (leaf,)), *plan(launch)], "sleep", "1000") as process:
        main_pid = wait_for_child(process.pid, "sleep")
        ops = [Op("cgroup2", (leaf,)), Op("join"), Op("directory-of-work", ("/bin",)), Op("user", (0, 0, b""))]
        out = launch(ops, "sh", "-c", "id -u; pwd; readlink /proc/self/ns/user; stat -c %u /bin", main_pid=main_pid)
        assert out.split() == ["0", "/bin", os.readlink(f"/proc/{main_pid}/ns/user"), "0"]
        process.kill()
    assert launch.undo(Op("kill-cgroup", (leaf,)), Op("remove-cgroup", (leaf,))).exit_code == 0


@pytest.mark.parametrize("maps", [("nonsense", "0 0 1"), ("", ""), ("5 100000 10\n", "0 100000 10\n")])
def test_maps_that_cannot_be_are_refused(launch: Launch, maps: tuple[str, str]) -> None:
    broken = [op if op.name != "id-maps" else Op("id-maps", maps) for op in plan(launch)]
    with pytest.raises(LaunchError) as caught:
        launch(broken, "true")
    assert caught.value.errno == errno.EINVAL


def test_a_user_namespace_without_maps_is_refused(launch: Launch) -> None:
    with pytest.raises(LaunchError) as caught:
        launch([op for op in plan(launch) if op.name != "id-maps"], "true")
    assert (caught.value.op, caught.value.errno) == ("namespaces", errno.EINVAL)
