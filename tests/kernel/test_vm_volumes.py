"""Volumes of a virtual machine: shared by 9p, owned as on the host, and never more than was asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command import Result, Twinhull


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    (path / "file").write_text("from the host\n")
    return path


def run(vm: Twinhull, volume: str, script: str) -> Result:
    words = ("run", "--rm", "--vm", "--network", "none", "-v", volume, "busybox", "sh", "-c", script)
    return vm(*words, timeout_s=120)


def test_both_sides_see_what_the_other_writes(vm: Twinhull, volume: Path) -> None:
    result = run(vm, f"{volume}:/data", "cat /data/file; echo from the guest > /data/new; sync")
    assert (result.exit_code, result.stdout) == (0, "from the host\n"), result.stderr
    assert (volume / "new").read_text() == "from the guest\n"


def test_ownership_and_mode_are_real(vm: Twinhull, volume: Path) -> None:
    os.chown(volume / "file", 1234, 5678)
    script = "stat -c '%u:%g %a' /data/file; touch /data/new; chown 42:43 /data/new; chmod 640 /data/new"
    assert run(vm, f"{volume}:/data", script).stdout == "1234:5678 644\n"
    status = (volume / "new").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (42, 43, 0o640)


def test_a_single_file_can_be_a_volume(vm: Twinhull, volume: Path) -> None:
    result = run(vm, f"{volume}/file:/etc/one", "cat /etc/one; ls /etc/one; echo more >> /etc/one")
    assert (result.exit_code, result.stdout) == (0, "from the host\n/etc/one\n"), result.stderr
    assert (volume / "file").read_text() == "from the host\nmore\n"


def test_a_read_only_volume_stays_as_it_is(vm: Twinhull, volume: Path) -> None:
    result = run(vm, f"{volume}:/data:ro", "cat /data/file; echo x > /data/file; rm /data/file; touch /data/new")
    assert result.stdout == "from the host\n"
    assert result.exit_code != 0
    assert {path.name: path.read_text() for path in volume.iterdir()} == {"file": "from the host\n"}


def test_a_guest_can_make_no_device_node_on_the_host(vm: Twinhull, volume: Path) -> None:
    result = run(vm, f"{volume}:/data", "mknod /data/disk b 8 0; mknod /data/null c 1 3; ls /data")
    assert result.stdout == "file\n"
    assert os.listdir(volume) == ["file"]


def test_links_lead_nowhere_on_the_host(vm: Twinhull, volume: Path) -> None:
    (volume / "out").symlink_to("/etc/shadow")
    (volume / "up").symlink_to("../../../../../../etc/shadow")
    result = run(vm, f"{volume}:/data", "cat /data/out /data/up /data/../../../etc/shadow; ls /data/..")
    assert Path("/etc/shadow").read_text().splitlines()[0] not in result.stdout
