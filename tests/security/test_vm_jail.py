"""What a QEMU that its guest has taken over gets of the host's kernel: its jail with a hostile program in it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from tests.security.test_system_calls import OTHERS, REFUSALS
from tests.support.launch import Launch
from twinhull.host.facts import read_facts
from twinhull.host.seccomp import qemu_filter
from twinhull.model import Volume
from twinhull.plan.jail import Jail, jail_plan

# Changes nothing but what the caller sees of its own machine.
HARMLESS = {"personality"}


@pytest.fixture
def root(tmp_path: Path, attack: Path) -> Path:
    """In place of the directories of QEMU's files one with the hostile program."""
    place = tmp_path / "root"
    for name in ("dev", "proc", "shares", "tmp"):
        (place / name).mkdir(parents=True)
    shutil.copy(attack / "attack", place / "attack")
    return place


@pytest.mark.parametrize("readonly", [None, True, False], ids=["alone", "read-only volume", "volume"])
def test_no_call_that_qemu_never_needs_is_answered(
    launch: Launch, root: Path, tmp_path: Path, readonly: bool | None
) -> None:
    """With a volume QEMU may open what users of the host own: by the volume's names, not by handle or elsewhere."""
    volumes = () if readonly is None else (Volume(str(tmp_path), "/data", readonly=readonly),)
    program = qemu_filter(str(tmp_path / "state"))
    jail = Jail("0123456789abcdef", "/none", str(root), ("/attack", "calls"), program, volumes=volumes)
    lines = launch(jail_plan(jail, read_facts()).child).splitlines()
    found = {name: text for name, text in (line.split(" ", 1) for line in lines) if name not in HARMLESS}
    named = {name: errno.errorcode.get(int(text), text) if text.isdigit() else text for name, text in found.items()}
    assert len(named) > 40, "each was tried"
    assert {name: text for name, text in named.items() if text not in OTHERS.get(name, REFUSALS)} == {}
