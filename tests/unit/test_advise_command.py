"""The words of `advise`: what is refused before anything is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.cli.advise import configure_advise, run_advise
from twinhull.cli.parser import Parser
from twinhull.config import Config
from twinhull.errors import InvalidRequest


@pytest.mark.parametrize(
    "words",
    [
        ("--cap-add", "NONSENSE"),
        ("--sysctl", "nonsense"),
        ("--device", "/dev/nonexistent"),
        ("--needs-kernel-module", ""),
        ("--os", "nonsense os"),
        ("--untrusted", "--isolation", "container"),
        ("--name", "x y"),
    ],
)
def test_what_means_nothing_or_contradicts_itself_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    parser = Parser("advise")
    configure_advise(parser)
    with pytest.raises(InvalidRequest):
        run_advise(parser.parse_args([*words, "busybox"]), Config(state=str(tmp_path), run=str(tmp_path)))


def test_a_flag_behind_the_image_is_refused_and_not_taken_for_its_command(tmp_path: Path) -> None:
    parser = Parser("advise")
    configure_advise(parser)
    with pytest.raises(InvalidRequest, match="--instances behind IMAGE") as caught:
        run_advise(parser.parse_args(["busybox", "--instances", "3"]), Config(state=str(tmp_path), run=str(tmp_path)))
    assert "behind --" in caught.value.hint


@pytest.mark.parametrize("words", [("--start-within", "200"), ("--start-within", "0s"), ("--memory-budget", "0")])
def test_a_time_without_a_unit_and_no_memory_at_all_are_refused(words: tuple[str, ...]) -> None:
    parser = Parser("advise")
    configure_advise(parser)
    with pytest.raises(InvalidRequest):
        parser.parse_args([*words, "busybox"])
    found = parser.parse_args(["--start-within", "200ms", "--memory-budget", "1k", "busybox"])
    assert (found.start_within, found.memory_budget) == (0.2, 1024)
