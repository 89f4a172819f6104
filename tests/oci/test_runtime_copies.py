"""tmpcopyup: a tmpfs that begins as what it hides."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.oci import Container


def test_a_tmpfs_shows_a_copy_of_what_it_hides(container: Container) -> None:
    tree = container.bundle / "rootfs/t"
    (tree / "below").mkdir(parents=True)
    (tree / "below/file").write_bytes(bytes(range(256)) * 9000)
    os.chown(tree / "below/file", 12, 34)
    (tree / "below/file").chmod(0o4751)
    (tree / "link").symlink_to("/nowhere")
    container.spec["mounts"].append(
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "mode=1711"]}
    )
    container.begin()
    copy = Path(f"/proc/{container.state()['pid']}/root/t")
    file = (copy / "below/file").stat()
    assert (file.st_uid, file.st_gid, oct(file.st_mode)) == (12, 34, "0o104751")
    assert (copy / "below/file").read_bytes() == (tree / "below/file").read_bytes()
    assert os.readlink(copy / "link") == "/nowhere"
    if container.runtime != "runc":  # 1.1.5 takes the directory's
        assert oct(copy.stat().st_mode) == "0o41711"
    (copy / "new").touch()
    assert not (tree / "new").exists()


def test_a_copied_tree_keeps_times_attributes_devices_and_its_top(ours: Container) -> None:
    tree = ours.bundle / "rootfs/t"
    (tree / "d").mkdir(parents=True)
    os.mkfifo(tree / "d/fifo")
    (tree / "d/fifo").chmod(0o622)
    os.mknod(tree / "d/null", 0o20640, os.makedev(1, 3))
    os.setxattr(tree / "d", "trusted.kind", b"mine")
    os.utime(tree / "d", (1, 86400))
    tree.chmod(0o2750)
    ours.spec["mounts"].append(
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}
    )
    ours.begin()
    copy = Path(f"/proc/{ours.state()['pid']}/root/t")
    assert oct(copy.stat().st_mode) == "0o42750"
    assert (copy / "d").stat().st_mtime == 86400 and os.getxattr(copy / "d", "trusted.kind") == b"mine"
    assert [oct((copy / f"d/{name}").stat().st_mode) for name in ("fifo", "null")] == ["0o10622", "0o20640"]
    assert (copy / "d/null").stat().st_rdev == os.makedev(1, 3)
    assert ours.exec("/bin/sh", "-c", "echo x >/t/new", check=False).returncode != 0
