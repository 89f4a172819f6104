"""What is said before the first guest of a comparison starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.compare import inside
from twinhull.config import Config


def test_only_what_is_still_to_be_made_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(state=str(tmp_path))
    assert inside.made_first(config) == "fetching a guest kernel and making a template"
    monkeypatch.setattr("twinhull.runtime.kernel.present", lambda _: True)
    assert inside.made_first(config) == "making a template"
    (tmp_path / "templates" / "key").mkdir(parents=True)
    (tmp_path / "templates" / "key" / "memory").write_bytes(b"x" * 4096)
    assert inside.made_first(config) == ""


def test_a_configured_kernel_that_is_not_there_is_left_for_the_start_to_tell(tmp_path: Path) -> None:
    assert inside.made_first(Config(state=str(tmp_path), vm_kernel="/no/such/kernel")) == ""
