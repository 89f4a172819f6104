"""Known attacks on the step from host to container, tried against the launcher; each must come to nothing."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from tests.support.launch import FAILURE, MOUNTS, PROC, S_IFCHR, Launch
from twinhull.errors import LaunchError
from twinhull.plan.ops import Op

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def refused(launch: Launch, plan: list[Op]) -> LaunchError:
    with pytest.raises(LaunchError) as caught:
        launch(plan, "true")
    return caught.value


@pytest.mark.parametrize("link", ["{outside}", "../../../../../../../../..{outside}", "/proc/self/root{outside}"])
def test_a_mount_target_that_links_out_stays_in_the_root(launch: Launch, tmp_path: Path, link: str) -> None:
    """CVE-2021-30465 and its like: the image has a link where the mount goes."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (launch.image / "data").symlink_to(link.format(outside=outside))
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "inside").touch()
    plan = launch.root(Op("bind", (str(volume), "/data", 1, 0)), mounts=())
    result = launch.result(plan, "ls", f"{outside}")
    assert result.stdout in ("inside\n", "")
    assert list(outside.iterdir()) == []
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()


def test_targets_made_for_a_mount_are_made_in_the_root(launch: Launch, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (launch.image / "escape").symlink_to(f"../../../..{outside}")
    ops = [
        Op("directory", ("/escape/made", 0o755)),
        Op("file", ("/escape/file", b"x", 0o644)),
        Op("device", ("/escape/null", 0o666, S_IFCHR, 1, 3, 0, 0)),
        Op("symlink", ("x", "/escape/link")),
    ]
    launch(launch.root(*ops), "true")
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in (launch.scratch / "changes0/upper" / str(outside).strip("/")).iterdir()) == [
        *("file", "link", "made", "null")
    ]


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_an_image_whose_proc_sys_or_dev_is_a_link_is_refused(launch: Launch, name: str) -> None:
    """CVE-2023-28642."""
    (launch.image / "elsewhere").mkdir()
    (launch.image / name).symlink_to("elsewhere")
    error = refused(launch, launch.root(mounts=MOUNTS))
    assert (error.op, error.target, error.errno) == ("filesystem", f"/{name}", errno.ELOOP)


def test_a_loop_of_links_ends_in_an_error(launch: Launch) -> None:
    (launch.image / "a").symlink_to("b")
    (launch.image / "b").symlink_to("a")
    assert refused(launch, launch.root(Op("directory", ("/a/c", 0o755)))).errno == errno.ELOOP


@pytest.mark.parametrize("path", ["/proc/self", "/proc/self/cwd", "/proc/self/fd/64", "/proc/1/root", "/link"])
def test_a_directory_of_work_below_proc_is_refused(launch: Launch, path: str) -> None:
    """CVE-2024-21626: a directory outside the root, by a descriptor that leaked into the child."""
    (launch.image / "link").symlink_to("/proc/self/fd/66")
    error = refused(launch, [*launch.root(), Op("directory-of-work", (path,))])
    assert error.op == "directory-of-work"
    assert error.errno in (errno.ELOOP, errno.EACCES, errno.ENOENT, errno.EEXIST)


def test_every_leaked_descriptor_is_closed_before_the_program_runs(launch: Launch) -> None:
    """CVE-2024-21626: whatever the caller left open, of any number, without close-on-exec."""
    numbers = [10, 61, 63, 64, 65, 66, 70, 200]
    directory = os.open("/", os.O_RDONLY)
    saved = [number for number in numbers if not os.path.exists(f"/proc/self/fd/{number}")]
    for number in saved:
        os.dup2(directory, number)
    try:
        with launch.start(launch.root(), "sh", "-c", "ls -v /proc/$$/fd; true", inherit=saved) as process:
            stdout, _ = process.communicate("")
    finally:
        for number in [*saved, directory]:
            os.close(number)
    assert stdout.split() == ["0", "1", "2"]


def test_the_old_root_cannot_be_reached(launch: Launch) -> None:
    marker = launch.scratch / "marker"
    marker.touch()
    script = f"ls /..{marker} /proc/1/root{marker} ../../../../..{marker}; cat /proc/self/mounts | wc -l"
    result = launch.result(launch.root(), "sh", "-c", script)
    assert result.stdout == "2\n"
    assert result.stderr.count("No such file") == 3


def test_a_chroot_escape_by_a_kept_directory_ends_at_the_root(launch: Launch) -> None:
    """The classic: chroot below, climb by a working directory left outside."""
    script = "mkdir /jail; cp /bin/busybox /jail; cd /; chroot /jail /busybox pwd; cd ../../../..; pwd; ls -d /jail"
    assert launch(launch.root(), "sh", "-c", script) == "/\n/\n/jail\n"


def test_a_mask_covers_a_link_s_target_inside_the_root_only(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("host")
    (launch.image / "secret").symlink_to(str(tmp_path / "victim"))
    launch(launch.root(Op("mask", ("/secret",))), "true")
    assert (tmp_path / "victim").read_text() == "host"


def test_a_mask_refuses_a_null_device_that_is_something_else(launch: Launch) -> None:
    """CVE-2025-31133: /dev/null of the image put in the place of the real one."""
    dev = Op("filesystem", ("tmpfs", "tmpfs", "/dev", 0, ""))
    false_null = Op("device", ("/dev/null", 0o666, S_IFCHR, 1, 5, 0, 0))
    link = Op("symlink", ("/bin/busybox", "/dev/null"))
    regular = Op("file", ("/dev/null", b"", 0o666))
    for fake in (false_null, link, regular):
        plan = [*launch.outside(), launch.overlay(), PROC, dev, fake, Op("enter-root"), Op("mask", ("/proc/keys",))]
        error = refused(launch, plan)
        assert (error.op, error.target, error.errno) == ("mask", "/proc/keys", errno.ENODEV)


def test_the_console_is_never_what_the_image_has_there(launch: Launch) -> None:
    """CVE-2025-52565: /dev/console as a link out of /dev."""
    (launch.image / "victim").write_text("kept")
    link = Op("symlink", ("/victim", "/dev/console"))
    error = refused(launch, [*launch.root(link, mounts=MOUNTS), Op("terminal", (24, 80))])
    assert (error.op, error.errno) == ("terminal", errno.ELOOP)


def test_a_sysctl_does_not_go_where_a_mounted_proc_says(launch: Launch, tmp_path: Path) -> None:
    """CVE-2025-52881: another file system where procfs should be."""
    fake = tmp_path / "proc"
    (fake / "sys/kernel").mkdir(parents=True)
    (fake / "sys/kernel/domainname").write_text("fake")
    ops = [Op("bind", (str(fake), "/proc", 1, 0)), Op("sysctl", ("kernel.domainname", "real"))]
    launch(launch.root(*ops, mounts=()), "true")
    assert (fake / "sys/kernel/domainname").read_text() == "fake"


def test_an_oom_score_is_not_written_through_the_image_s_proc(launch: Launch, tmp_path: Path) -> None:
    ops = [Op("bind", (str(tmp_path), "/proc", 1, 0)), Op("oom-score", (1500,))]
    launch(launch.root(*ops, mounts=()), "true")
    assert [path.name for path in tmp_path.iterdir()] == ["launch"]


def test_a_race_between_two_roots_over_a_shared_volume_mounts_nothing_outside(launch: Launch, tmp_path: Path) -> None:
    """CVE-2021-30465 itself: another container swaps a directory of a volume for a link while we mount below it."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "a").mkdir(parents=True)
    (outside / "x").mkdir(parents=True)
    (volume / "link").symlink_to(f"../../../../../../../..{outside}")
    names = [os.fsencode(volume / name) for name in ("a", "link")]
    exchange = ctypes.CDLL(None).renameat2
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            exchange(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        ops = [Op("bind", (str(volume), "/v", 1, 0)), Op("bind", (str(launch.image), "/v/a/x", 1, 0))]
        for _ in range(40):
            result = launch.result(launch.root(*ops), "sh", "-c", "cat /proc/self/mountinfo")
            points = {line.split()[4] for line in result.stdout.splitlines()}
            assert not points or points <= {"/", "/proc", "/v"} | {p for p in points if p.endswith("/x")}
            assert result.exit_code == 0 or FAILURE.search(result.stderr), result
    finally:
        stop.set()
        attacker.join()
    assert list((outside / "x").iterdir()) == []
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()
