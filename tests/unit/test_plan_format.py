"""The op table and the frames are the same in Python, in C and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from scripts import generate_headers
from twinhull.plan import frames, ops

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/plan-format.md").read_text()


def section(title: str) -> str:
    """Return the text below one heading, up to the next."""
    return re.split(r"^#+ ", DOCUMENT.split(f"# {title}\n", 1)[1], flags=re.MULTILINE)[0]


def test_the_generated_headers_are_current() -> None:
    assert generate_headers.OPS_H.read_text() == generate_headers.ops_header()
    assert generate_headers.PROTOCOL_H.read_text() == generate_headers.protocol_header()


def test_each_op_is_documented_in_its_stage_with_its_code_and_arguments() -> None:
    for stage, title in (("host", "Host stage"), ("child", "Child stage"), ("undo", "Undo stage")):
        rows = re.findall(r"^\| (\d+) \| `([a-z0-9-]+)` \| (?:`([\w:, ]+)`)? ?\| .+ \|$", section(title), re.MULTILINE)
        wanted = [(str(row.code), row.name, ", ".join(row.args)) for row in sorted(ops.TABLE) if row.stage == stage]
        assert rows == wanted


def test_each_frame_and_flag_is_documented_with_its_number() -> None:
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| ", section("Frames"), re.MULTILINE)
    known = [*frames.numbers(frames.Kind).items(), *frames.numbers(frames.Flag).items()]
    assert rows == [(str(value), name) for name, value in known]


def test_the_limits_in_the_document_are_the_table_s() -> None:
    assert f"{ops.MAX_OPS:,} ops, {ops.MAX_PLAN_BYTES >> 20} MiB" in DOCUMENT
    assert f"descriptor {ops.NETNS_FD} (NETNS_FD)" in DOCUMENT
    assert f"at most {frames.MAX_PAYLOAD_BYTES >> 10} KiB" in DOCUMENT
    assert f"{frames.INITIAL_CREDIT_BYTES >> 10} KiB of credit" in DOCUMENT


def test_codes_and_names_are_used_once() -> None:
    assert len({row.code for row in ops.TABLE}) == len({row.name for row in ops.TABLE}) == len(ops.TABLE)


def test_the_decoder_knows_the_range_of_each_integer() -> None:
    kinds = {argument: generate_headers.argument_kind(argument) for row in ops.TABLE for argument in row.args}
    assert kinds["i:fd"] == "f"
    assert kinds["i:port"] == kinds["i:to_port"] == "p"
    assert kinds["i:mode"] == kinds["i:uid"] == kinds["i:major"] == "u"
    assert kinds["i:bounding"] == kinds["i:attributes"] == kinds["i:hard"] == "i"
    assert {kind for argument, kind in kinds.items() if not argument.startswith("i")} == {"s", "b"}
