"""Restart policies as words, as what the shim reads, and as what it has written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twinhull.config import Config, restored
from twinhull.engine import policy
from twinhull.engine.policy import Restarts
from twinhull.errors import InvalidRequest
from twinhull.model import Request


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("no", ""),
        ("always", "always"),
        ("on-failure", "on-failure"),
        ("on-failure:0", "on-failure"),
        ("on-failure:07", "on-failure:7"),
    ],
)
def test_a_policy_is_kept_in_one_form(text: str, kept: str) -> None:
    assert policy.parse(text) == kept


@pytest.mark.parametrize(
    "text", ["", "never", "always:", "no:1", "unless-stopped:2", "on-failure:", "on-failure:-1", "on-failure:²"]
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        policy.parse(text)


def test_a_request_that_is_removed_at_its_end_has_none() -> None:
    with pytest.raises(InvalidRequest, match="conflicting options"):
        policy.check(Request("x", restart="always", remove=True))


def test_the_shim_is_told_policy_and_command_and_the_command_has_the_configuration(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path), insecure_registries=("one:5000",), trace="t")
    (tmp_path / "instances/1").mkdir(parents=True)
    policy.write(config, "1", "on-failure:3")
    name, most, _, program, *words, end = (tmp_path / "instances/1/restart").read_bytes().decode().split("\0")
    assert (name, most, program[0], words[-1], end) == ("on-failure", "3", "/", "1", "")
    assert restored(json.loads(words[-2])) == config._replace(trace="")
    policy.write(config, "1", "")
    assert not (tmp_path / "instances/1/restart").exists()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert policy.read(str(tmp_path)) == Restarts()
    policy.save(str(tmp_path), Restarts(4, 800, True, 12))
    assert policy.read(str(tmp_path)) == Restarts(4, 800, True, 12)
    assert not policy.is_waiting(str(tmp_path))  # nobody holds a lock: its shim was killed
