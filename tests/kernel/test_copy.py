"""cp: the same for both isolations, running or not."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.command import COMMAND
from tests.support.wall import Wall

SCRIPT = """
mkdir -p /data/sub; echo one > /data/a; echo two > /data/sub/b; chmod 640 /data/a; chown 7:8 /data/a
touch -d '2020-01-02 03:04:05' /data/a; ln -s a /data/link; ln -s / /data/escape; chmod u+s /data/sub/b
ln /data/sub/b /data/sub/same
echo ready; exec sleep 1004
"""


def site(root: Path) -> Path:
    """A small tree of the host."""
    path = root / "site"
    (path / "deep").mkdir(parents=True)
    (path / "index").write_text("hello\n")
    (path / "deep/large").write_bytes(bytes(range(256)) * 4096)
    (path / "link").symlink_to("index")
    os.utime(path / "deep", (1_000_000_000, 1_000_000_000))
    return path


def raw(wall: Wall, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command with bytes for streams."""
    return subprocess.run(
        [COMMAND, *words], env=wall.twinhull.environment(), input=stdin, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parity("cp, both ways, running or not")
def test_files_come_out_of_a_running_workload(wall: Wall, tmp_path: Path) -> None:
    wall.detached("--name", "box", "busybox", "sh", "-c", SCRIPT)
    wall.await_log("box", "ready")
    wall("cp", "box:/data/a", str(tmp_path / "named"), check=True)
    assert (tmp_path / "named").read_text() == "one\n"
    status = os.stat(tmp_path / "named")
    assert (status.st_mode & 0o7777, status.st_uid, int(status.st_mtime)) == (0o640, 0, 1577934245)
    wall("cp", "-a", "box:/data", str(tmp_path), check=True)
    assert os.stat(tmp_path / "data/a")[4:6] == (7, 8)
    assert os.readlink(tmp_path / "data/escape") == "/"
    assert os.stat(tmp_path / "data/sub/b").st_mode & 0o4000
    assert os.stat(tmp_path / "data/sub/b").st_ino == os.stat(tmp_path / "data/sub/same").st_ino
    (tmp_path / "into").mkdir()
    wall("cp", "box:/data/.", str(tmp_path / "into"), check=True)
    assert sorted(os.listdir(tmp_path / "into")) == ["a", "escape", "link", "sub"]
    assert not os.stat(tmp_path / "into/sub/b").st_mode & 0o4000, "a workload gives the host no set-id program"
    wall("cp", "-L", "box:/data/link", str(tmp_path / "followed"), check=True)
    assert (tmp_path / "followed").read_text() == "one\n"
    with tarfile.open(fileobj=io.BytesIO(raw(wall, "cp", "box:/data", "-").stdout)) as archive:
        assert archive.getnames()[0] == "data" and "data/sub/b" in archive.getnames()
        assert archive.getmember("data/a").uid == 7
    for words, text in (
        (("box:/nothing", "x"), "has no file"),
        (("box:/data", str(tmp_path / "named")), "is not a directory"),
        (("box:/data/a", str(tmp_path / "no/such")), "no such directory"),
        (("box:/data/a", "box:/b"), "between workloads"),
        (("box:/dev/null", str(tmp_path / "null")), "is a device"),
        (("nobody:/a", "b"), "no such workload"),
    ):
        refused = wall("cp", *words)
        assert (refused.exit_code, text in refused.stderr) == (125, True), refused.stderr


@pytest.mark.parity("cp, both ways, running or not")
def test_files_go_into_a_running_workload_and_no_link_leads_out(wall: Wall, tmp_path: Path) -> None:
    local = site(tmp_path)
    volume = tmp_path / "volume"
    volume.mkdir()
    wall.detached("--name", "box", "-v", f"{volume}:/volume", "busybox", "sh", "-c", SCRIPT)
    wall.await_log("box", "ready")
    wall("cp", str(local), "box:/srv", check=True)  # there is no /srv: it gets this name
    script = "cd /srv; cat link; wc -c < deep/large; stat -c '%u %Y' deep; ls"
    shown = wall("exec", "box", "sh", "-c", script, check=True).stdout.splitlines()
    assert shown == ["hello", str(256 * 4096), "0 1000000000", "deep", "index", "link"]
    wall("cp", str(local / "index"), "box:/volume/", check=True)
    assert (volume / "index").read_text() == "hello\n"
    wall("cp", str(local / "index"), "box:/data/escape/tmp", check=True)  # the link leads to the workload's own /
    assert wall("exec", "box", "cat", "/tmp/index").stdout == "hello\n"
    assert not os.path.exists("/tmp/index")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(local, "put/below")
    assert raw(wall, "cp", "-", "box:/data", stdin=packed.getvalue()).returncode == 0
    assert wall("exec", "box", "cat", "/data/put/below/index").stdout == "hello\n"
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../out"), io.BytesIO())
    refused = raw(wall, "cp", "-", "box:/data", stdin=hostile.getvalue())
    assert refused.returncode == 125 and b"leads out" in refused.stderr
    for words, text in (
        ((str(local), "box:/data/a"), "is not a directory"),
        ((str(local / "index"), "box:/none/"), "no such directory"),
        ((str(local / "index"), "box:/none/name"), "no directory"),
        ((str(local / "index"), "box:/proc/sys/kernel/hostname"), "ead-only file system"),
        ((str(local / "missing"), "box:/"), "no such file"),
    ):
        failed = wall("cp", *words)
        assert (failed.exit_code, text in failed.stderr) == (125, True), failed.stderr


@pytest.mark.parity("cp, both ways, running or not")
def test_a_workload_that_does_not_run_is_copied_to_and_from_and_stays_what_it_is(wall: Wall, tmp_path: Path) -> None:
    local = site(tmp_path)
    script = "echo $(cat /etc/motto) >> /kept; cat /kept; exit 3"
    wall.created("--name", "box", "busybox", "sh", "-c", script)
    wall("cp", str(local / "index"), "box:/etc/motto", check=True)
    assert wall.row("box")["status"] == "created"
    assert wall("start", "-a", "box").stdout == "hello\n"
    wall("cp", "box:/kept", str(tmp_path / "kept"), check=True)
    assert (tmp_path / "kept").read_text() == "hello\n"
    row = wall.row("box")
    assert (row["status"], row["exit_code"]) == ("exited", 3)
    assert wall("start", "-a", "box").stdout == "hello\nhello\n"


def test_a_paused_container_can_be_copied_from(wall: Wall, tmp_path: Path) -> None:
    wall.detached("--name", "box", "busybox", "sh", "-c", SCRIPT)
    wall.await_log("box", "ready")
    wall("pause", "box", check=True)
    result = wall("cp", "box:/data/a", str(tmp_path / "a"))
    if wall.isolation == "container":
        assert (tmp_path / "a").read_text() == "one\n"
    else:  # who would read it stands still too
        assert (result.exit_code, "twinhull unpause box" in result.stderr) == (125, True)
