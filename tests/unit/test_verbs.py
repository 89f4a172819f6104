"""Commands of several words, and what is said of those that are none."""

from __future__ import annotations

import pytest

from twinhull.cli import main
from twinhull.cli.verbs import every_verb, resolve
from twinhull.errors import InvalidRequest


def test_words_name_the_verb_of_a_group_within_a_group() -> None:
    name, row, rest = resolve(["vm", "template", "rm", "5b0d"])
    assert (name, row and row.function, rest) == ("vm template rm", "template_rm", ["5b0d"])
    name, row, rest = resolve(["vm", "template"])
    assert (name, bool(row and row.verbs), rest) == ("vm template", True, [])


def test_every_verb_of_an_inner_group_is_listed_by_its_whole_name() -> None:
    names = [name for name, _ in every_verb()]
    assert {"run", "machine rm", "vm warm", "vm template ls"} <= set(names)
    assert not {"vm", "vm template", "machine"} & set(names)


@pytest.mark.parametrize(
    ("words", "meant"), [(["vm", "template", "lst"], "vm template ls"), (["vm", "warn"], "vm warm"), (["rnu"], "run")]
)
def test_an_unknown_word_is_answered_with_the_command_that_was_meant(words: list[str], meant: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        main.dispatch(words)
    assert (caught.value.exit_code, caught.value.hint) == (125, f"did you mean {meant}?")


@pytest.mark.parametrize("words", [["nosuch"], ["help", "nosuch"], ["vm", "kernel", "nosuch"], ["--nosuch"]])
def test_a_word_like_no_command_is_answered_with_where_they_are_listed(words: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="unknown command") as caught:
        main.dispatch(words)
    assert caught.value.hint.endswith("--help lists the commands")


def test_a_group_alone_shows_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.dispatch(["vm", "template"]) == 125
    assert "usage: twinhull vm template VERB" in capsys.readouterr().err
    assert main.dispatch(["vm", "template", "-h"]) == 0
    assert "usage: twinhull vm template VERB" in capsys.readouterr().out
