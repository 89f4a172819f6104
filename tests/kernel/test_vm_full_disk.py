"""A host without room for a guest's disk: the guest sees an error, as a container does, and goes on. Real QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.small import FILL, fill, small

WRITE = "dd if=/dev/zero of=/big bs=1M count=48 conv=fsync"


@pytest.fixture
def full(tmp_path: Path, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    """A guest that runs, with its state on a small file system that is filled up then."""
    with small(tmp_path / "small", 600) as command:
        words = ("run", "-d", "--vm", "--network", "none", "--name", "box", "busybox", "sleep", "600")
        command(*words, check=True, timeout_s=120)
        fill(command.root)
        yield command


def test_a_guest_sees_an_error_and_works_again_when_there_is_room(full: Twinhull) -> None:
    refused = full("exec", "box", "sh", "-c", WRITE)
    assert refused.exit_code == 1 and "error" in refused.stderr.lower(), refused
    assert full("exec", "box", "echo", "here", check=True).stdout == "here\n"
    (full.root / FILL).unlink()
    assert full("exec", "box", "sh", "-c", f"rm /big; {WRITE} && echo written", check=True).stdout == "written\n"


def test_saving_says_that_there_is_no_room_and_the_guest_goes_on(full: Twinhull) -> None:
    refused = full("snapshot", "box", "kept")
    assert refused.exit_code == 125 and "No space left on device" in refused.stderr, refused
    assert full("exec", "box", "echo", "here", check=True).stdout == "here\n"
    (full.root / FILL).unlink()
    full("snapshot", "box", "kept", check=True)
