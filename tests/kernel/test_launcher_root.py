"""The ops that build a root, judged by what a process inside sees and by what stays invisible on the host."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support.launch import MOUNTS, NAMESPACES, NOEXEC, NOSUID, PROC, RDONLY, S_IFCHR, Launch
from twinhull.errors import LaunchError
from twinhull.plan.ops import Op


def mount_line(mountinfo: str, point: str) -> list[str]:
    lines = [line.split() for line in mountinfo.splitlines() if " - " in line]
    found = [words for words in lines if words[4] == point]
    assert found, f"nothing is mounted on {point}:\n{mountinfo}"
    return found[-1]


def options(mountinfo: str, point: str) -> set[str]:
    return set(mount_line(mountinfo, point)[5].split(","))


def test_the_root_is_the_overlay_and_nothing_of_the_host_is_mounted(launch: Launch) -> None:
    shown = launch(launch.root(), "cat", "/proc/self/mountinfo")
    assert [line.split()[4] for line in shown.splitlines()] == ["/", "/proc"]
    assert " overlay " in shown.splitlines()[0]


def test_a_change_in_the_root_goes_to_the_upper_directory_only(launch: Launch) -> None:
    launch(launch.root(), "touch", "/made")
    assert (launch.scratch / "changes0/upper/made").exists()
    assert not (launch.image / "made").exists()


def test_the_overlay_follows_no_redirection_and_is_volatile_only_when_asked(launch: Launch) -> None:
    shown = launch(launch.root(), "cat", "/proc/self/mountinfo")
    assert "redirect_dir=nofollow" in shown
    assert "volatile" not in shown
    plan = [*launch.outside(), launch.overlay(volatile=True), PROC, Op("enter-root")]
    assert "volatile" in launch(plan, "cat", "/proc/self/mountinfo")


def test_127_layers_make_one_root_with_the_first_on_top(launch: Launch) -> None:
    layers = [f"layers/{number:06x}" for number in range(126)]
    for number, layer in enumerate(layers):
        (launch.scratch / layer).mkdir(parents=True)
        (launch.scratch / layer / "top").write_text(f"{number}\n")
        (launch.scratch / layer / f"file{number}").touch()
    plan = [*launch.outside(), launch.overlay((*layers, "image")), Op("enter-root")]
    out = launch(plan, "sh", "-c", "cat /top; ls / | grep -c file").split()
    assert out == ["0", "126"]


def test_an_overlay_takes_names_with_commas_and_backslashes(launch: Launch) -> None:
    os.rename(launch.image, launch.scratch / "odd,na\\me")
    assert launch([*launch.outside(), launch.overlay(("odd,na\\me",)), Op("enter-root")], "echo", "ok") == "ok\n"


def test_a_bound_root_can_be_read_only(launch: Launch) -> None:
    (launch.image / "proc").mkdir()
    plan = [*launch.outside(), Op("root-bind", (str(launch.image), 1)), PROC, Op("enter-root")]
    assert options(launch(plan, "cat", "/proc/self/mountinfo"), "/") >= {"ro"}
    assert launch.result(plan, "touch", "/x").exit_code == 1
    plan[2] = Op("root-bind", (str(launch.image), 0))
    launch(plan, "touch", "/x")
    assert (launch.image / "x").exists()


def test_a_read_only_bind_refuses_writes(launch: Launch, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    out = launch(
        launch.root(Op("bind", (str(source), "/data/here", 1, RDONLY | NOEXEC))),
        *("sh", "-c", "cat /proc/self/mountinfo; touch /data/here/x; echo rc=$?"),
    )
    assert options(out, "/data/here") >= {"ro", "noexec"}
    assert "rc=1" in out
    assert not (source / "x").exists()
    assert "/data/here" not in Path("/proc/self/mountinfo").read_text()


def test_a_bind_of_a_file_makes_an_empty_file_to_mount_on(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("one\n")
    assert (
        launch(launch.root(Op("bind", (str(tmp_path / "hosts"), "/etc/hosts", 0, 0))), "cat", "/etc/hosts") == "one\n"
    )


def test_a_bind_is_recursive_when_asked_and_its_attributes_too(launch: Launch, tmp_path: Path) -> None:
    inner = tmp_path / "source/inner"
    inner.mkdir(parents=True)
    ops = [Op("bind", (str(launch.image), str(inner), 0, 0)), Op("bind", (str(inner.parent), "/data", 1, RDONLY))]
    plan = [*launch.outside(), *ops[:1], launch.overlay(), PROC, *ops[1:], Op("enter-root")]
    shown = launch(plan, "cat", "/proc/self/mountinfo")
    assert options(shown, "/data") >= {"ro"}
    assert options(shown, "/data/inner") >= {"ro"}


def test_a_bind_fills_in_a_dangling_link_inside_the_root(launch: Launch, tmp_path: Path) -> None:
    """As images of systemd distributions have /etc/resolv.conf."""
    (tmp_path / "resolv").write_text("nameserver\n")
    (launch.image / "etc").mkdir()
    (launch.image / "etc/resolv.conf").symlink_to("../run/stub/resolv.conf")
    op = Op("bind", (str(tmp_path / "resolv"), "/etc/resolv.conf", 0, 0))
    assert launch(launch.root(op), "cat", "/run/stub/resolv.conf") == "nameserver\n"
    assert not Path("/run/stub").exists()


def test_a_failed_bind_names_the_op_and_the_missing_source(launch: Launch) -> None:
    with pytest.raises(LaunchError) as caught:
        launch(launch.root(Op("bind", ("/no/such/source", "/data", 1, 0))), "true")
    assert (caught.value.op, caught.value.target) == ("bind", "/no/such/source")
    assert (caught.value.errno, caught.value.exit_code) == (errno.ENOENT, 125)


def test_a_volume_is_cut_off_from_later_mounts_of_the_host(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    plan = launch.root(Op("bind", (str(tmp_path / "source"), "/data", 1, 0)))
    words = mount_line(launch(plan, "cat", "/proc/self/mountinfo"), "/data")
    assert words[6] == "-", "neither shared nor a slave"


def test_a_file_system_has_its_options_and_attributes(launch: Launch) -> None:
    op = Op("filesystem", ("tmpfs", "name", "/cache", NOSUID, "size=64k,mode=700"))
    shown = launch(launch.root(op), "cat", "/proc/self/mountinfo")
    assert options(shown, "/cache") >= {"nosuid", "rw"}
    assert mount_line(shown, "/cache")[-2:] == ["name", "rw,size=64k,mode=700"]


def test_an_unknown_file_system_is_an_error_with_its_target(launch: Launch) -> None:
    with pytest.raises(LaunchError) as caught:
        launch(launch.root(Op("filesystem", ("nosuchfs", "none", "/cache", 0, ""))), "true")
    assert (caught.value.op, caught.value.target, caught.value.errno) == ("filesystem", "/cache", errno.ENODEV)


def test_nodes_directories_links_and_files_are_made_as_asked(launch: Launch) -> None:
    plan = launch.root(
        Op("directory", ("/a/b/c", 0o1751)),
        Op("device", ("/nodes/null", 0o640, S_IFCHR, 1, 3, 7, 8)),
        Op("device", ("/nodes/fifo", 0o600, stat.S_IFIFO, 0, 0, 0, 0)),
        Op("symlink", ("b/c", "/a/link")),
        Op("file", ("/etc/hostname", b"box\n", 0o640)),
    )
    script = "stat -c '%n %a %u %g %t:%T %F' /a/b/c /nodes/null /nodes/fifo /etc/hostname"
    assert launch(plan, "sh", "-c", f"{script}; readlink /a/link; cat /etc/hostname").splitlines() == [
        "/a/b/c 1751 0 0 0:0 directory",
        "/nodes/null 640 7 8 1:3 character special file",
        "/nodes/fifo 600 0 0 0:0 fifo",
        "/etc/hostname 640 0 0 0:0 regular file",
        "b/c",
        "box",
    ]


def test_a_node_that_is_there_is_fine_and_another_in_its_place_is_not(launch: Launch) -> None:
    null = Op("device", ("/null", 0o666, S_IFCHR, 1, 3, 0, 0))
    link = Op("symlink", ("there", "/link"))
    launch(launch.root(null, null, link, link), "true")
    for other in (Op("device", ("/null", 0o666, S_IFCHR, 1, 5, 0, 0)), Op("symlink", ("elsewhere", "/link"))):
        with pytest.raises(LaunchError) as caught:
            launch(launch.root(null, link, other), "true")
        assert caught.value.errno == errno.EEXIST


def test_masked_paths_are_empty_and_absent_ones_are_fine(launch: Launch) -> None:
    ops = [Op("mask", (path,)) for path in ("/proc/keys", "/proc/acpi", "/proc/scsi", "/proc/bus", "/no/such")]
    plan = launch.root(*ops)
    out = launch(
        plan, "sh", "-c", "cat /proc/keys; ls /proc/bus; cat /proc/self/mountinfo; touch /proc/bus/x; echo rc=$?"
    )
    assert options(out, "/proc/bus") >= {"ro", "nosuid", "nodev", "noexec"}
    assert mount_line(out, "/proc/keys")[3] == "/null"
    assert out.startswith(mount_line(out, "/")[0]), "the masked file and directory show nothing"
    assert out.endswith("rc=1\n")


def test_a_read_only_path_keeps_its_content_and_refuses_writes(launch: Launch) -> None:
    plan = launch.root(Op("read-only", ("/proc/sys",)), Op("read-only", ("/no/such",)))
    out = launch(plan, "sh", "-c", "cat /proc/sys/kernel/ostype; echo x > /proc/sys/kernel/domainname; echo rc=$?")
    assert out == "Linux\nrc=1\n"


def test_a_read_only_root_leaves_its_mounts_writable(launch: Launch) -> None:
    plan = launch.root(Op("filesystem", ("tmpfs", "tmpfs", "/tmp", 0, "")), Op("root-readonly"))
    assert launch(plan, "sh", "-c", "touch /x; echo $?; touch /tmp/x; echo $?") == "1\n0\n"


def test_mounts_of_a_plan_never_reach_the_host(launch: Launch) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with launch.start(launch.root(mounts=MOUNTS), "cat") as process:
        assert process.stdin
        process.stdin.write("x")
        assert Path("/proc/self/mountinfo").read_text() == before
        process.communicate()
    assert Path("/proc/self/mountinfo").read_text() == before


def test_no_mount_is_made_in_the_namespace_of_the_host(launch: Launch) -> None:
    """A plan that forgot its namespace is refused, not performed on the host."""
    for plan in ([Op("private-mounts")], [Op("filesystem", ("tmpfs", "x", str(launch.scratch), 0, ""))]):
        with pytest.raises(LaunchError) as caught:
            launch([Op("namespaces", (NAMESPACES & ~0x20000,)), *plan], "true")
        assert caught.value.errno == errno.EINVAL


def test_a_stage_is_mounted_outside_the_root_and_an_overlay_takes_it(launch: Launch) -> None:
    stage = Op("stage", ("tmpfs", "scratch", "th-scratch", 0, "size=1m"))
    upper = "/run/stage/th-scratch"
    overlay = Op("overlay", (str(launch.scratch), "image", f"{upper}/upper", f"{upper}/work", 0))
    out = launch([*launch.outside(), stage, overlay, PROC, Op("enter-root")], "cat", "/proc/self/mountinfo")
    assert f"upperdir={upper}/upper" in out
    assert "/run/stage" not in "".join(line.split()[4] for line in out.splitlines())
    os.rmdir("/run/stage/th-scratch")


def test_a_read_only_root_still_gets_its_directory_of_work(launch: Launch) -> None:
    plan = [*launch.root(Op("root-readonly")), Op("directory-of-work", ("/new/dir",))]
    assert launch(plan, "sh", "-c", "pwd; touch x; echo $?") == "/new/dir\n1\n"
