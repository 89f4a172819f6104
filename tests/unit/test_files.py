"""Trees of ours go, whatever a workload put into them."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from twinhull.errors import HostUnfit
from twinhull.host import files


@pytest.mark.slow
def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(3000):  # 3,000 levels of 11 bytes: no path reaches the bottom
        os.mkdir("directory1", dir_fd=fd)
        inner = os.open("directory1", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    files.remove_tree(str(tree))
    assert not tree.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/link").symlink_to(outside)
    (tree / "file").symlink_to(outside / "kept")
    files.remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_a_missing_tree_is_fine(tmp_path: Path) -> None:
    files.remove_tree(str(tmp_path / "nothing"))


def test_a_published_file_is_whole_and_leaves_no_other(tmp_path: Path) -> None:
    files.publish(str(tmp_path / "file"), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert files.read(str(tmp_path / "file")) == b"content"


def test_a_file_that_appears_in_a_tree_while_it_is_removed_goes_with_it(tmp_path: Path) -> None:
    """Whoever looks whether a directory's lock is free makes the lock's file, also in one that is on its way out."""
    tree, done = tmp_path / "tree", threading.Event()

    def look() -> None:
        while not done.is_set():
            with contextlib.suppress(FileNotFoundError):
                os.close(os.open(tree / "lock", os.O_RDWR | os.O_CREAT, 0o600))

    looking = [threading.Thread(target=look) for _ in range(3)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(100):
            tree.mkdir(exist_ok=True)
            files.remove_tree(str(tree))
    finally:
        done.set()
        for thread in looking:
            thread.join()


def test_a_link_to_nothing_above_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "kernels").symlink_to(tmp_path / "gone")
    with pytest.raises(HostUnfit, match="kernels is a link to nothing"):
        files.make_directory(f"{tmp_path}/kernels/6.1")


@pytest.mark.parametrize("path", ["/proc/nope/state", "/dev/null/state", "/dev/null/a/b"])
def test_where_no_directory_can_be_made_is_no_bug(path: str) -> None:
    with pytest.raises(HostUnfit) as caught:
        files.make_directory(path)
    assert "TWINHULL_ROOT" in caught.value.hint


def shared_directory(tmp_path: Path) -> Path:
    """A directory as /tmp is: everybody may make names in it."""
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    return place


def test_a_directory_of_ours_is_made_where_everybody_may_make_names(tmp_path: Path) -> None:
    path = shared_directory(tmp_path) / "mine/state"
    files.make_own_directory(str(path))
    files.make_own_directory(str(path))
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_way_that_others_may_change_is_refused(tmp_path: Path) -> None:
    trap = shared_directory(tmp_path) / "trap"
    (trap / "state").mkdir(parents=True, mode=0o700)
    trap.chmod(0o777)
    with pytest.raises(HostUnfit, match="shared/trap belongs to another user, or others may write to it"):
        files.make_own_directory(str(trap / "state"))


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given to another user")
@pytest.mark.parametrize("link", [False, True])
def test_a_way_through_what_is_another_users_is_refused(tmp_path: Path, link: bool) -> None:
    shared = shared_directory(tmp_path)
    (tmp_path / "real/state").mkdir(parents=True)
    if link:
        (shared / "trap").symlink_to(tmp_path / "real")
    else:
        (shared / "trap/state").mkdir(parents=True)
    os.chown(shared / "trap", 4242, 4242, follow_symlinks=False)
    with pytest.raises(HostUnfit, match="shared/trap belongs to another user"):
        files.make_own_directory(str(shared / "trap/state"))
