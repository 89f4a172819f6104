"""Mounts of a spec as ops: order kept, the last of two contrary options wins, the unknown refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import UnsupportedSpec
from twinhull.plan.mounts import CLEAR, RDONLY, SET, compile_mount, compile_mounts

paths = st.from_regex(r"(/[a-z]{1,8}){1,4}", fullmatch=True)
options = st.lists(st.sampled_from(["bind", "rbind", *SET, *CLEAR]), max_size=5)
mounts = st.lists(
    st.fixed_dictionaries({"destination": paths, "source": paths, "options": options, "type": st.just("tmpfs")}),
    max_size=8,
)


def target(name: str, args: tuple[Any, ...]) -> Any:
    return args[1] if name == "bind" else args[2]


@pytest.mark.slow
@given(mounts)
def test_order_and_number_of_mounts_are_kept(listed: list[dict[str, Any]]) -> None:
    found = [target(*op) for op in compile_mounts(listed)]
    assert found == [mount["destination"] for mount in listed]


@pytest.mark.slow
@given(mounts)
def test_the_last_of_ro_and_rw_wins(listed: list[dict[str, Any]]) -> None:
    for mount, op in zip(listed, compile_mounts(listed), strict=True):
        said = [option for option in mount["options"] if option in ("ro", "rw")]
        assert bool(int(op.args[3]) & RDONLY) == (said[-1:] == ["ro"])


def test_data_options_are_passed_on_in_order() -> None:
    op = compile_mount({"destination": "/t", "type": "tmpfs", "source": "t", "options": ["mode=755", "size=1k", "ro"]})
    assert op.args == ("tmpfs", "t", "/t", RDONLY, "mode=755,size=1k")


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(UnsupportedSpec, match="'sparkle'"):
        compile_mount({"destination": "/t", "options": ["sparkle"]})


def test_a_relative_target_is_refused() -> None:
    with pytest.raises(UnsupportedSpec, match="not absolute"):
        compile_mount({"destination": "t"})
