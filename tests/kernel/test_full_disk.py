"""A file system without room: every command says so in a line, and works again as soon as there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Twinhull


@pytest.fixture
def full(tmp_path: Path, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """State on a small file system, filled up after one run."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "small", str(place)], check=True)
    command = Twinhull(place)
    command("run", "--rm", "--network", "none", "busybox", "true", check=True)
    with (place / "fill").open("wb") as file:
        subprocess.run(["dd", "if=/dev/zero", "bs=4k"], stdout=file, stderr=subprocess.DEVNULL, check=False)
    yield command
    (place / "fill").unlink(missing_ok=True)
    command.remove_all()
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_line_with_a_hint(full: Twinhull) -> None:
    for words in (("run", "--rm", "--network", "none", "busybox", "true"), ("create", "busybox"), ("rmi", "busybox")):
        result = full(*words)
        assert result.exit_code in (1, 125)
        assert "no space left" in result.stderr.lower(), words
        assert "this is a bug" not in result.stderr
    assert full("ps", "-a", check=True).stdout.startswith("ID")
    (full.root / "fill").unlink()
    assert full("run", "--rm", "--network", "none", "busybox", "echo", "back", check=True).stdout == "back\n"


@pytest.mark.parametrize("flags", [(), ("--rm",)], ids=["kept", "rm"])
def test_a_workload_that_fills_the_disk_can_be_removed(full: Twinhull, flags: tuple[str, ...]) -> None:
    (full.root / "fill").unlink()
    words = ("run", *flags, "--name", "glutton", "--network", "none", "busybox", "sh", "-c")
    full(*words, "dd if=/dev/zero of=/big bs=4k; exit 4")
    if not flags:
        assert "no space left" in full("create", "busybox").stderr
        full("rm", "-f", "glutton", check=True)
    full("ps", "-a", check=True)
    assert "glutton" not in full("ps", "-a", check=True).stdout
    assert full("run", "--rm", "--network", "none", "busybox", "echo", "back", check=True).stdout == "back\n"
