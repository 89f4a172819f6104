"""Unpacking, judged by what lies in the directory afterwards and by what an overlay of it shows."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.layers import directory, entry, hardlink, symlink, tar
from twinhull.errors import RegistryError
from twinhull.store.decompress import decompressed
from twinhull.store.unpack import unpack

OPAQUE = "trusted.overlay.opaque"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    path.mkdir()
    return path


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def test_owners_modes_times_and_kinds_are_kept(target: Path) -> None:
    unpack(
        iter(
            [
                tar(
                    [
                        directory("d", mode=0o2750, uid=5, gid=6, mtime=11),
                        entry("d/suid", b"x", mode=0o4711, uid=1000, gid=1001, mtime=12.5),
                        symlink("d/link", "/etc/passwd"),
                        hardlink("d/hard", "d/suid"),
                        entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
                        entry("disk", type=tarfile.BLKTYPE, devmajor=7, devminor=200, mode=0o640),
                        entry("fifo", type=tarfile.FIFOTYPE, mode=0o600),
                    ]
                )
            ]
        ),
        str(target),
    )
    folder, suid = (target / "d").stat(), (target / "d/suid").stat()
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid, folder.st_gid, folder.st_mtime) == (0o2750, 5, 6, 11)
    assert (stat.S_IMODE(suid.st_mode), suid.st_uid, suid.st_gid, suid.st_mtime) == (0o4711, 1000, 1001, 12.5)
    assert os.readlink(target / "d/link") == "/etc/passwd"
    assert (target / "d/hard").stat().st_ino == suid.st_ino
    assert (target / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE((target / "null").stat().st_mode) == 0o666
    assert stat.S_ISBLK((target / "disk").stat().st_mode)
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)


def test_capabilities_and_user_attributes_are_kept(target: Path) -> None:
    program = target.parent / "program"
    program.write_bytes(b"x")
    os.setxattr(program, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.setxattr(program, "user.note", b"a\0b")
    packed = subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "-C", target.parent, "-cf", "-", "program"],
        capture_output=True,
        check=True,
    )
    unpack(iter([packed.stdout]), str(target))
    assert os.getxattr(target / "program", "security.capability") == os.getxattr(program, "security.capability")
    assert os.getxattr(target / "program", "user.note") == b"a\0b"


def test_holes_stay_holes(target: Path) -> None:
    source = target.parent / "sparse"
    with source.open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
        file.truncate(100 << 20)
    packed = subprocess.run(["tar", "-C", target.parent, "-S", "-cf", "-", "sparse"], capture_output=True, check=True)
    unpack(iter([packed.stdout]), str(target))
    status = (target / "sparse").stat()
    assert (status.st_size, status.st_blocks < 200) == (100 << 20, True)
    assert (target / "sparse").read_bytes() == source.read_bytes()


def test_whiteouts_and_opaque_directories_hide_what_lies_below(target: Path, tmp_path: Path) -> None:
    lower, merged = tmp_path / "lower", tmp_path / "merged"
    merged.mkdir()
    for name in ("gone", "dir/old", "tree/old", "replaced/old", "kept"):
        (lower / name).parent.mkdir(parents=True, exist_ok=True)
        (lower / name).write_text("below")
    unpack(
        iter(
            [
                tar(
                    [
                        entry(".wh.gone"),
                        directory("dir"),
                        entry("dir/.wh..wh..opq"),
                        entry("dir/new"),
                        entry(".wh.tree"),
                        directory("tree"),
                        entry("tree/new"),
                        directory("replaced"),
                        entry("replaced/new"),
                        entry(".wh.replaced"),
                    ]
                )
            ]
        ),
        str(target),
    )
    script = f"mount -t overlay o -o ro,lowerdir={target}:{lower} {merged} && cd {merged} && find . -type f | sort"
    shown = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["./dir/new", "./kept", "./replaced/new", "./tree/new"]


def test_a_file_wins_over_a_whiteout_of_the_same_layer(target: Path) -> None:
    unpack(iter([tar([entry("a", b"1"), entry(".wh.a"), entry(".wh.b"), entry("b", b"2")])]), str(target))
    assert [(target / name).read_bytes() for name in "ab"] == [b"1", b"2"]


def test_a_later_entry_replaces_an_earlier_one_of_any_kind(target: Path) -> None:
    unpack(
        iter(
            [
                tar(
                    [
                        *(directory("a"), entry("a/x"), entry("a", b"file")),
                        *(entry("b"), directory("b"), entry("b/x")),
                        *(symlink("c", "a"), directory("c"), entry("c/x")),
                        *(entry("d", b"1"), entry("d", b"22")),
                        *(entry("e"), symlink("e", "d")),
                        *(directory("f"), directory("f/g"), entry("f/g/h"), hardlink("f", "d")),
                    ]
                )
            ]
        ),
        str(target),
    )
    assert (target / "a").read_bytes() == b"file"
    assert all((target / name / "x").is_file() for name in "bc")
    assert not (target / "c").is_symlink()
    assert (target / "d").read_bytes() == (target / "f").read_bytes() == b"22"
    assert os.readlink(target / "e") == "d"


def test_missing_parents_are_made_for_everybody(target: Path) -> None:
    os.umask(previous := os.umask(0o077))
    try:
        unpack(iter([tar([entry("a/b/c", b"x"), entry("d/.wh.e")])]), str(target))
    finally:
        os.umask(previous)
    assert [stat.S_IMODE((target / name).stat().st_mode) for name in ("a", "a/b", "d")] == [0o755] * 3
    assert is_whiteout(target / "d/e")


def test_many_directories_do_not_use_up_descriptors(target: Path) -> None:
    deep = "/".join("d" * 200)
    entries = [directory(f"{number}/x/y") for number in range(500)]
    before = len(os.listdir("/proc/self/fd"))
    unpack(iter([tar([*entries, entry(f"{deep}/end", b"1"), *(entry(f"{n}/x/y/z") for n in range(500))])]), str(target))
    assert (target / deep / "end").read_bytes() == b"1"
    assert len(os.listdir("/proc/self/fd")) == before


def compressed(content: bytes, how: str) -> bytes:
    """Compress with a tool of the machine."""
    command = {"zstd": ["zstd", "-qc"], "gzip": ["gzip", "-c"], "plain": ["cat"], "xz": ["xz", "-c"]}[how]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout


def pieces(content: bytes, size: int = 999) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("how", ["zstd", "gzip", "plain"])
def test_layers_are_plain_gzip_or_zstd_whatever_they_are_called(target: Path, how: str) -> None:
    content = os.urandom(300_000)
    size = unpack(decompressed(pieces(compressed(tar([entry("f", content)]), how))), str(target))
    assert (size, (target / "f").read_bytes()) == (300_000, content)


@pytest.mark.parametrize("how", ["zstd", "gzip"])
def test_streams_of_several_members_are_read_whole(how: str) -> None:
    both = compressed(b"1" * 1000, how) + compressed(b"2" * 1000, how)
    assert b"".join(decompressed(pieces(both))) == b"1" * 1000 + b"2" * 1000


@pytest.mark.parametrize("how", ["zstd", "gzip"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_stream_is_refused(how: str, damage: str) -> None:
    whole = bytearray(compressed(os.urandom(100_000), how))
    if damage == "cut":
        del whole[50_000:]
    else:
        whole[50_000] ^= 0xFF
    with pytest.raises(RegistryError, match="damaged"):
        list(decompressed(pieces(bytes(whole))))


def test_other_compressions_are_named_and_refused() -> None:
    with pytest.raises(RegistryError, match="xz"):
        list(decompressed(pieces(compressed(b"x", "xz"))))


def test_a_bomb_comes_in_small_chunks() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    assert max(map(len, decompressed(pieces(bomb, 1 << 20)))) <= 1 << 20
