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
    for words in (("run", "--rm", "--network", "none", "busybox", "true"), ("create", "busybox"), ("rmi", "busybox")):
        result = full(*words)
        assert result.exit_code in (1, 125)
        assert "no space left" in result.stderr.lower(), words
        assert "this is a bug" not in result.stderr
    assert full("ps", "-a", check=True).stdout.startswith("ID")
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
