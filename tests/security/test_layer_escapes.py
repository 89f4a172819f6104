"""Archives that try to leave their directory. Whatever they do, nothing outside it may change."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.layers import directory, entry, hardlink, symlink, tar
from twinhull.errors import RegistryError
from twinhull.oci.layer import Limits
from twinhull.store import accounts
from twinhull.store.unpack import unpack

Entry = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A directory beside the layer with a file and a directory that no archive may touch."""
    path = tmp_path / "victim"
    (path / "directory").mkdir(parents=True)
    (path / "file").write_text("precious")
    before = look(path)
    yield path
    assert look(path) == before, "the archive reached outside its directory"


def look(path: Path) -> list[tuple[str, int, int, int, float]]:
    """Everything about a tree that an archive could change."""
    found = [path, *sorted(path.rglob("*"))]
    return [(str(one), (s := one.lstat()).st_mode, s.st_uid, s.st_size, s.st_mtime) for one in found]


def attack(tmp_path: Path, entries: list[Entry], format: int = tarfile.PAX_FORMAT) -> Path:
    layer = tmp_path / "layer"
    layer.mkdir()
    unpack(iter([tar(entries, format)]), str(layer))
    return layer


ESCAPES: dict[str, list[Entry]] = {
    "dot dot": [entry("../victim/file", b"x")],
    "dot dot inside": [directory("a"), entry("a/../../victim/file", b"x")],
    "dot dot directory": [directory("../victim/new")],
    "dot dot symlink": [symlink("../victim/link", "/")],
    "dot dot whiteout": [entry("../victim/.wh.file")],
    "whiteout of the parent": [entry("a/.wh...")],
    "opaque outside": [entry("../victim/.wh..wh..opq")],
    "file behind a symlink": [symlink("a", "../victim"), entry("a/file", b"x")],
    "file behind an absolute symlink": [symlink("a", "/VICTIM"), entry("a/file", b"x")],
    "directory behind a symlink": [symlink("a", "../victim"), directory("a/directory", mode=0o777)],
    "deep behind a symlink": [directory("b"), symlink("b/a", "../.."), entry("b/a/victim/file", b"x")],
    "whiteout behind a symlink": [symlink("a", "../victim"), entry("a/.wh.file")],
    "opaque behind a symlink": [symlink("a", "../victim"), entry("a/.wh..wh..opq")],
    "device behind a symlink": [symlink("a", "../victim"), entry("a/n", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "hard link out": [hardlink("a", "../victim/file")],
    "hard link through a symlink": [symlink("a", "../victim"), hardlink("b", "a/file")],
    "hard link behind a symlink": [entry("x", b"x"), symlink("a", "../victim"), hardlink("a/file", "x")],
    "hard link to an absolute name": [hardlink("a", "/VICTIM/file")],
    "hard link to a directory": [directory("d"), hardlink("a", "d")],
    "hard link to the root": [hardlink("a", ".")],
    "root as a file": [entry(".", b"x")],
    "root as a symlink": [symlink("./", "../victim")],
}


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_escape_is_refused(tmp_path: Path, victim: Path, name: str, format: int) -> None:
    entries = [(info, content) for info, content in ESCAPES[name]]
    for info, _ in entries:
        info.linkname = info.linkname.replace("/VICTIM", str(victim))
    with pytest.raises(RegistryError):
        attack(tmp_path, entries, format)


def test_a_directory_swapped_for_a_symlink_is_not_followed(tmp_path: Path, victim: Path) -> None:
    swapped = [directory("a"), entry("a/1", b"x"), symlink("a", "../victim"), entry("a/file", b"x")]
    with pytest.raises(RegistryError, match="used as a directory"):
        attack(tmp_path, swapped)


def test_times_of_a_directory_swapped_for_a_symlink_stay_inside(tmp_path: Path, victim: Path) -> None:
    attack(tmp_path, [directory("a", mtime=1), directory("b", mtime=1), symlink("a", "../victim"), entry("b")])


def test_a_file_over_a_symlink_replaces_the_link(tmp_path: Path, victim: Path) -> None:
    layer = attack(tmp_path, [symlink("a", "../victim/file"), entry("a", b"mine", mode=0o777, uid=7)])
    assert (layer / "a").read_bytes() == b"mine"


def test_owner_and_mode_of_a_symlink_are_its_own(tmp_path: Path, victim: Path) -> None:
    info, content = symlink("a", "../victim/file")
    info.uid, info.mode = 4242, 0o7777
    layer = attack(tmp_path, [(info, content)])
    assert (layer / "a").lstat().st_uid == 4242


def test_a_hard_link_to_a_symlink_is_one_to_the_link(tmp_path: Path, victim: Path) -> None:
    layer = attack(tmp_path, [symlink("a", "../victim/file"), hardlink("b", "a")])
    assert (layer / "b").is_symlink()
    assert (victim / "file").stat().st_nlink == 1


def test_replacing_a_tree_does_not_follow_its_links(tmp_path: Path, victim: Path) -> None:
    attack(tmp_path, [directory("a"), symlink("a/out", "../../victim/directory"), entry("a", b"x")])


def test_an_absolute_name_lies_in_the_layer(tmp_path: Path, victim: Path) -> None:
    layer = attack(tmp_path, [entry(f"/{victim}/file", b"x")])
    assert (layer / str(victim)[1:] / "file").read_bytes() == b"x"


def test_a_link_as_parent_set_by_a_pax_path_is_refused(tmp_path: Path, victim: Path) -> None:
    info, content = entry("harmless", b"x")
    info.pax_headers = {"path": "../victim/file"}
    with pytest.raises(RegistryError):
        attack(tmp_path, [(info, content)])


@pytest.mark.parametrize("name", ["trusted.overlay.redirect", "user.overlay.redirect", "trusted.overlay.metacopy"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE])
def test_attributes_that_redirect_overlayfs_are_refused(tmp_path: Path, name: str, kind: bytes) -> None:
    info, content = entry("a", type=kind, linkname="x")
    info.pax_headers = {f"SCHILY.xattr.{name}": "/../victim"}
    with pytest.raises(RegistryError, match="attribute"):
        attack(tmp_path, [(info, content)])


def test_a_layer_of_too_many_or_too_large_files_is_refused(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    with pytest.raises(RegistryError, match="too many"):
        unpack(iter([tar([entry(str(n)) for n in range(11)])]), str(layer), Limits(max_entries=10))
    with pytest.raises(RegistryError, match="too large"):
        unpack(iter([tar([entry("big", bytes(2000))])]), str(layer), Limits(max_bytes=1000))
    assert not (layer / "big").exists(), "limits are checked before anything is written"


def test_no_device_of_the_image_is_ever_opened(tmp_path: Path) -> None:
    """A FIFO would block the reader and a device could act: accounts look at the kind first."""
    layer = tmp_path / "1"
    (layer / "etc").mkdir(parents=True)
    os.mkfifo(layer / "etc/passwd")
    os.symlink("/etc/shadow", layer / "etc/group")
    assert accounts.read(str(tmp_path), [1]) == ("", "")


@pytest.mark.parametrize("where", ["etc", "passwd"])
def test_accounts_do_not_follow_links_out_of_a_layer(tmp_path: Path, where: str) -> None:
    layer = tmp_path / "1"
    layer.mkdir()
    if where == "etc":
        os.symlink("/etc", layer / "etc")
    else:
        (layer / "etc").mkdir()
        os.symlink("/etc/passwd", layer / "etc/passwd")
    assert accounts.read(str(tmp_path), [1]).passwd == ""


def test_accounts_come_from_the_highest_layer_that_has_them(tmp_path: Path) -> None:
    for number, text in ((1, "low"), (2, "high")):
        (tmp_path / f"{number}/etc").mkdir(parents=True)
        (tmp_path / f"{number}/etc/passwd").write_text(text)
    os.mknod(tmp_path / "2/etc/group", stat.S_IFCHR, 0)
    (tmp_path / "1/etc/group").write_text("hidden")
    assert accounts.read(str(tmp_path), [2, 1]) == ("high", "")
    os.setxattr(tmp_path / "2/etc", "trusted.overlay.opaque", b"y")
    os.unlink(tmp_path / "2/etc/passwd")
    assert accounts.read(str(tmp_path), [2, 1]).passwd == ""
