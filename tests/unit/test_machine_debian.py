"""What the Debian disk is made of and how it is named, without making it."""

from __future__ import annotations

from pathlib import Path

from twinhull.machine import debian


def test_the_name_of_a_disk_changes_with_its_sources(tmp_path: Path) -> None:
    path = tmp_path / "x.list"
    source = debian.Source("bookworm", (str(path),))
    path.write_text("deb http://one bookworm main\n")
    one = source.stamp()
    path.write_text("deb http://two bookworm main\n")
    assert source.stamp() != one
    assert debian.Source("trixie", (str(path),)).stamp() != source.stamp()


def test_files_are_written_as_everybody_may_read_them_and_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/hostname").symlink_to(outside)
    debian.write_files(str(tree), {"etc/hostname": "x\n", "etc/initramfs-tools/hooks/disk": "#!/bin/sh\n"})
    assert outside.read_text() == "untouched"
    assert (tree / "etc/hostname").read_text() == "x\n"
    modes = [(tree / name).stat().st_mode & 0o777 for name in ("etc/hostname", "etc/initramfs-tools/hooks/disk")]
    assert modes == [0o644, 0o755]


def test_what_is_told_of_a_build_and_its_last_error_are_mmdebstraps() -> None:
    lines = [b"I: downloading\n", b"W: slow\n", b"E: no such suite\n", b"I: cleaning\n", b"rm: bye\n"]
    told: list[str] = []
    assert debian.follow(lines, told.append) == "E: no such suite"
    assert told == ["  downloading", "  cleaning"]
    assert debian.follow([b"W: only\n"], told.append) == "W: only"


def test_an_os_release_is_read_with_and_without_quotes() -> None:
    text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n# none\nVERSION_CODENAME='bookworm'\n"
    assert dict(debian.fields(text)) == {
        "PRETTY_NAME": "Debian GNU/Linux 12",
        "ID": "debian",
        "VERSION_CODENAME": "bookworm",
    }
