"""A file system without room: every command says so in a line, and works again as soon as there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.small import FILL, fill, small


@pytest.fixture
def full(tmp_path: Path, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """State on a small file system, filled up after one run."""
    with small(tmp_path / "small", 12) as command:
        command("run", "--rm", "--network", "none", "busybox", "true", check=True)
        fill(command.root)
        yield command


def test_a_full_disk_is_one_line_with_a_hint(full: Twinhull) -> None:
    (full.root / "state" / "reserve").unlink()  # else it is given for what --rm left
    fill(full.root)
    for words in (("run", "--rm", "--network", "none", "busybox", "true"), ("create", "busybox"), ("rmi", "busybox")):
        result = full(*words)
        assert result.exit_code in (1, 125)
        assert "no space left" in result.stderr.lower(), words
        assert "this is a bug" not in result.stderr
    assert full("ps", "-a", check=True).stdout.startswith("ID")
    (full.root / FILL).unlink()
    assert full("run", "--rm", "--network", "none", "busybox", "echo", "back", check=True).stdout == "back\n"


def test_on_a_full_disk_what_takes_the_room_can_be_removed(full: Twinhull) -> None:
    (full.root / FILL).unlink()
    full("create", "--name", "quiet", "--network", "none", "busybox", check=True)
    full("run", "-d", "--name", "idle", "--network", "none", "busybox", "sleep", "1000", check=True)
    for words in (("rm", "quiet"), ("rm", "--force", "idle"), ("rmi", "busybox"), ("rmi", "twinhull/busybox")):
        fill(full.root)  # with what the one before gave back
        done = full(*words, check=True)
    assert "deleted: sha256:" in done.stdout
    assert full("ps", "-a", "-q", check=True).stdout == ""
    (full.root / FILL).unlink()
    assert full("run", "--rm", "--network", "none", "busybox", "echo", "back", check=True).stdout == "back\n"


@pytest.mark.parametrize("flags", [(), ("--rm",)], ids=["kept", "rm"])
def test_a_workload_that_fills_the_disk_can_be_removed(full: Twinhull, flags: tuple[str, ...]) -> None:
    (full.root / FILL).unlink()
    words = ("run", *flags, "--name", "glutton", "--network", "none", "busybox", "sh", "-c")
    full(*words, "dd if=/dev/zero of=/big bs=4k; exit 4")
    if not flags:
        assert "no space left" in full("create", "busybox").stderr
        full("rm", "-f", "glutton", check=True)
    full("ps", "-a", check=True)
    assert "glutton" not in full("ps", "-a", check=True).stdout
    assert full("run", "--rm", "--network", "none", "busybox", "echo", "back", check=True).stdout == "back\n"
