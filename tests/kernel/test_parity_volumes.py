"""Volumes, the same behind either wall: what a workload sees and leaves, and what becomes of it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support.wall import Wall


@pytest.mark.parity("named volumes, filled from the image")
def test_a_named_volume_begins_with_what_the_image_has_and_outlives_its_workloads(wall: Wall) -> None:
    name = f"kept-{wall.isolation}"
    script = "cat /etc/group | head -1; chown 42:43 /etc/group; echo mine > /etc/new; cat /etc/hostname | wc -l"
    first = wall.run("-v", f"{name}:/etc", "busybox", "sh", "-c", script)
    assert first.stdout.splitlines()[0].startswith("root:"), first
    (row,) = wall("volume", "inspect", name, check=True).json()
    content = Path(row["path"])
    assert ((content / "group").stat().st_uid, (content / "new").read_text()) == (42, "mine\n")
    (content / "host").write_text("of the host\n")
    again = wall.run("-v", f"{name}:/data:ro", "busybox", "sh", "-c", "cat /data/host /data/new; touch /data/x")
    assert (again.stdout, again.exit_code) == ("of the host\nmine\n", 1)
    wall("volume", "rm", name, check=True)
    assert not content.exists()


@pytest.mark.parity("volume create, ls, inspect, rm, prune; rm `-v`")
def test_volumes_are_listed_with_their_users_and_go_when_nobody_wants_them(wall: Wall) -> None:
    wall("volume", "create", "-l", "of=test", "spare", check=True)
    words = ("-v", "wanted:/w:nocopy", "-v", "/anonymous", "busybox", "true")
    wall(*wall.words("--name", "user", *words, verb="create"), check=True)
    rows = {row["name"]: row for row in wall("volume", "ls", "--format", "json", check=True).json()}
    (anonymous,) = (row for row in rows.values() if row["anonymous"])
    assert (rows["wanted"]["users"], anonymous["users"], rows["spare"]["labels"]) == (
        ["user"],
        ["user"],
        {"of": "test"},
    )
    refused = wall("volume", "rm", "wanted")
    assert (refused.exit_code, "in use by user" in refused.stderr) == (1, True)
    wall("rm", "-v", "user", check=True)
    assert wall("volume", "ls", "-q", check=True).stdout.split() == ["spare", "wanted"]
    assert wall("volume", "prune", "-f", check=True).stdout == ""
    assert sorted(wall("volume", "prune", "-a", "-f", check=True).stdout.split()) == ["spare", "wanted"]
    assert wall("volume", "rm", "spare").exit_code == 1
    assert wall("volume", "rm", "-f", "spare").exit_code == 0


@pytest.mark.parity("`-v`, `--mount`: directories and single files, read-only, owners, changes seen on both sides")
def test_mounts_in_words_lie_inside_each_other_and_change_on_both_sides(wall: Wall, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one\n")
    (tmp_path / "below").mkdir()
    mounts = (
        *("--mount", f"type=bind,src={tmp_path},dst=/m/host", "--mount", "type=tmpfs,dst=/m,tmpfs-size=1m"),
        *("--mount", f"type=bind,source={tmp_path / 'one'},target=/m/file,readonly", "-v", "gone:/m/host/below"),
    )
    script = "cat /m/file /m/host/one; echo x > /m/file; echo made > /m/host/new; echo v > /m/host/below/v; df -h /m"
    result = wall.run(*mounts, "busybox", "sh", "-c", script)
    assert result.stdout.splitlines()[:2] == ["one", "one"], result
    assert "1.0M" in result.stdout
    assert ((tmp_path / "new").read_text(), (tmp_path / "one").read_text()) == ("made\n", "one\n")
    assert os.listdir(tmp_path / "below") == []
    wall("volume", "rm", "gone", check=True)


@pytest.mark.parity("anonymous volumes")
def test_an_anonymous_volume_goes_with_a_workload_that_is_removed_at_its_end(wall: Wall) -> None:
    assert wall.run("-v", "/data", "busybox", "sh", "-c", "echo x > /data/x; cat /data/x").stdout == "x\n"
    assert wall("ps", "-a", "--format", "json", check=True).json() == []
    assert wall("volume", "ls", "-q", check=True).stdout == ""


@pytest.mark.parity("a volume over /etc: hosts, hostname and resolv.conf are the workload's own")
@pytest.mark.parametrize("words", [(), ("--read-only",)])
def test_a_volume_over_etc_does_not_hide_the_files_of_the_network(
    wall: Wall, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "hosts").write_text("of the volume\n")
    given = (*words, "--hostname", "box", "--dns", "192.0.2.9", "-v", f"{tmp_path}:/etc", "--network", "bridge")
    script = "cat /etc/hostname /etc/hosts /etc/resolv.conf; ls /etc; echo more >> /etc/hosts; tail -n 1 /etc/hosts"
    result = wall.run(*given, "busybox", "sh", "-c", script)
    first, *rest = result.stdout.splitlines()
    assert (first, "nameserver 192.0.2.9" in rest, "of the volume" in rest) == ("box", True, False), result
    assert any(line.endswith("\tbox") for line in rest)
    assert rest[-4:-1] == ["hostname", "hosts", "resolv.conf"]
    assert (rest[-1] == "more") == (not words)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "hostname": "",
        "hosts": "of the volume\n",
        "resolv.conf": "",
    }


@pytest.mark.parity("a volume over /etc: hosts, hostname and resolv.conf are the workload's own")
def test_a_named_volume_over_etc_has_the_files_of_the_network_on_top(wall: Wall) -> None:
    name = f"etc-{wall.isolation}"
    result = wall.run("--hostname", "box", "-v", f"{name}:/etc:nocopy", "busybox", "cat", "/etc/hostname")
    assert result.stdout == "box\n", result
    wall("volume", "rm", name, check=True)


@pytest.mark.parity("a volume over /etc: hosts, hostname and resolv.conf are the workload's own")
def test_a_network_that_is_joined_later_is_told_over_a_volume(wall: Wall, tmp_path: Path) -> None:
    network = f"later-{wall.isolation}"
    wall("network", "create", network, check=True)
    idle = ("--network", "bridge", "-v", f"{tmp_path}:/etc", "busybox", "sleep", "600")
    wall.detached("--name", "told", "--hostname", "box", *idle)
    before = wall("exec", "told", "cat", "/etc/hosts", check=True).stdout
    wall("network", "connect", network, "told", check=True)
    after = wall("exec", "told", "cat", "/etc/hosts", check=True).stdout
    assert after.startswith(before) and after.count("\tbox\n") == before.count("\tbox\n") + 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("hostname", "hosts", "resolv.conf"), ""
    )
    wall("rm", "-f", "told", check=True)
    wall("network", "rm", network, check=True)


def test_a_volume_on_a_file_of_the_network_is_the_users(wall: Wall, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("10.9.9.9 mine\n")
    result = wall.run("-v", f"{tmp_path / 'hosts'}:/etc/hosts", "busybox", "cat", "/etc/hosts")
    assert result.stdout == (tmp_path / "hosts").read_text() == "10.9.9.9 mine\n"


@pytest.mark.parity(
    "`-v` of a socket of the host", refused="who listens is known to the host's kernel, not to the guest's"
)
def test_a_socket_of_the_host_is_refused_to_a_virtual_machine_with_the_reason(wall: Wall, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        result = wall.run("-v", f"{tmp_path / 's'}:/s", "busybox", "test", "-S", "/s")
    if wall.isolation == "vm":
        assert (result.exit_code, "neither a file nor a directory" in result.stderr) == (125, True)
    else:
        assert result.exit_code == 0, result


@pytest.mark.parametrize("words", [("-v", "a:/x"), ("-v", "/nonexistent/x:/x"), ("--mount", "type=none,dst=/x")])
def test_what_is_no_volume_is_refused_before_anything_is_made(wall: Wall, words: tuple[str, str]) -> None:
    result = wall.run(*words, "busybox", "true")
    assert (result.exit_code, "invalid" in result.stderr) == (125, True)


@pytest.mark.parity("`--volumes-from`")
def test_the_volumes_of_another_workload_are_seen_and_outlive_it(wall: Wall, tmp_path: Path) -> None:
    words = (
        "-v",
        f"{tmp_path}:/host",
        "-v",
        "/own",
        "busybox",
        "sh",
        "-c",
        "echo theirs > /own/file; echo written; sleep 1000",
    )
    wall.detached("--name", "first", *words)
    wall.await_log("first", "written")
    script = "cat /own/file; echo b > /host/new; touch /own/x 2>/dev/null || echo read-only"
    assert wall.run("--volumes-from", "first", "busybox", "sh", "-c", script).stdout == "theirs\n"
    assert (tmp_path / "new").read_text() == "b\n"
    hidden = wall.run("--volumes-from", "first:ro", "--tmpfs", "/host", "busybox", "sh", "-c", f"ls /host; {script}")
    assert hidden.stdout == "theirs\nread-only\n"
    wall(*wall.words("--name", "second", "--volumes-from", "first", "busybox", "cat", "/own/file", verb="create"))
    wall("rm", "-f", "-v", "first", check=True)
    assert wall("start", "-a", "second", check=True).stdout == "theirs\n"
    assert "no such workload" in wall.run("--volumes-from", "nobody", "busybox", "true").stderr
    assert "NAME:ro" in wall.run("--volumes-from", "second:x", "busybox", "true").stderr


@pytest.mark.parity("`-v`, `--mount`: directories and single files, read-only, owners, changes seen on both sides")
@pytest.mark.parametrize("source", ["/", "/proc/self/root", "/etc/.."])
def test_the_hosts_root_is_shown_without_the_workloads_own(wall: Wall, source: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host")
    script = f"cat /x{tmp_path}/file; ls -d /x/shares /x/x 2>/dev/null; cat /x/etc/hostname"
    shown = wall.run("-v", f"{source}:/x:ro", "-h", "inside", "busybox", "sh", "-c", script)
    assert shown.stdout == f"of the host{Path('/etc/hostname').read_text()}", shown
