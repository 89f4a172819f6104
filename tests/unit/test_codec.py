"""The plan's bytes: what is encoded comes back, what is damaged is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import InvalidRequest
from twinhull.plan.codec import HEADER, decode, encode
from twinhull.plan.ops import TABLE, Op

text = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
values = {"s": text, "i": st.integers(0, (1 << 64) - 1), "b": st.binary(max_size=60)}
ops = st.sampled_from(TABLE).flatmap(
    lambda row: st.tuples(*(values[kind[0]] for kind in row.args)).map(lambda args: Op(row.name, args))
)
plans = st.lists(ops, max_size=12)


@given(plans)
def test_what_is_encoded_decodes_to_the_same_ops(plan: list[Op]) -> None:
    assert list(decode(encode(plan))) == plan


@given(plans, st.data())
def test_a_cut_plan_is_refused(plan: list[Op], data: st.DataObject) -> None:
    encoded = encode(plan)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(InvalidRequest):
        decode(encoded[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused_never_worse(noise: bytes) -> None:
    body = HEADER.pack(b"TWPL", 1, 1, len(noise)) + noise
    try:
        decode(body)
    except InvalidRequest:
        pass


def test_a_nul_in_a_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        encode([Op("argument", ("a\0b",))])


def test_an_unknown_op_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no op"):
        encode([Op("format-disk", ())])


def test_too_many_ops_are_refused_with_the_limit() -> None:
    with pytest.raises(InvalidRequest, match="too many") as caught:
        encode([Op("argument", ("x",))] * 9000)
    assert "8192" in caught.value.hint


def test_bytes_that_are_not_utf8_survive_the_way_through_an_argument() -> None:
    word = b"\xff\xfe".decode("utf-8", "surrogateescape")
    (op,) = decode(encode([Op("argument", (word,))]))
    assert op.args == (word,)
