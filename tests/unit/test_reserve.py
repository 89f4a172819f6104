"""Room set aside: kept once, made again after a kill, and never in the way."""

from __future__ import annotations

from pathlib import Path

from twinhull.store import reserve


def test_room_is_set_aside_and_given(tmp_path: Path) -> None:
    reserve.keep(str(tmp_path))
    assert (tmp_path / reserve.NAME).stat().st_blocks * 512 >= reserve.MOST_BYTES
    reserve.spend(str(tmp_path))
    reserve.spend(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_command_left_of_it_is_filled(tmp_path: Path) -> None:
    (tmp_path / reserve.NAME).touch()
    reserve.keep(str(tmp_path))
    assert (tmp_path / reserve.NAME).stat().st_blocks * 512 >= reserve.MOST_BYTES


def test_where_there_is_no_room_nothing_is_said_and_nothing_left() -> None:
    reserve.keep("/proc")
    reserve.keep("/nowhere")
    assert not Path("/proc", reserve.NAME).exists()
