"""Write launcher/ops.h and launcher/protocol.h from the Python tables that they mirror.

    python scripts/generate_headers.py [--check]

Promise: the launcher and the engine read one description. `--check` writes nothing and exits with 1
when a header is not what its table says.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # the tables are read where they stand, installed or not

from twinhull.plan import codec, frames, ops  # noqa: E402

OPS_H = ROOT / "launcher/ops.h"
PROTOCOL_H = ROOT / "launcher/protocol.h"

# What an integer may hold, beyond 64 bits' worth, is checked while decoding: f a descriptor number
# below MAX_CHILD_FDS, p a port, u 32 bits.
DESCRIPTOR_ARGUMENTS = {"fd"}
PORT_ARGUMENTS = {"port", "to_port"}
WIDE_ARGUMENTS = {
    *("flags", "attributes", "soft", "hard", "seconds"),
    *("bounding", "effective", "permitted", "inheritable", "ambient"),
}
# The argument that tells a reader which of many such ops it is, best first.
TELLING_ARGUMENTS = ("path", "target", "name", "key", "tag", "upper", "port", "fd", "value")


def main(arguments: list[str]) -> int:
    """Write the headers, or compare them; return the exit status."""
    wanted = {OPS_H: ops_header(), PROTOCOL_H: protocol_header()}
    if arguments == ["--check"]:
        stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what its table says: run {Path(__file__).name}", file=sys.stderr)
        return 1 if stale else 0
    for path, text in wanted.items():
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").rename(path)  # `make check` reads them while another job of it may write them
    return 0


def ops_header() -> str:
    """Return the op table as C."""
    rows = sorted(ops.TABLE)
    limits = (
        ("PLAN_MAGIC", f'"{codec.MAGIC.decode()}"'),
        ("PLAN_VERSION", str(ops.VERSION)),
        ("PLAN_HEADER_BYTES", str(codec.HEADER.size)),
        ("OP_HEADER_BYTES", str(codec.OP.size)),
        ("MAX_OPS", str(ops.MAX_OPS)),
        ("MAX_PLAN_BYTES", str(ops.MAX_PLAN_BYTES)),
        ("NETNS_FD", str(ops.NETNS_FD)),
        ("MAX_OP_CODE", str(max(row.code for row in rows))),
    )
    return "\n".join(
        [
            "/* Generated from src/twinhull/plan/ops.py by scripts/generate_headers.py. */",
            "#ifndef TWINHULL_OPS_H",
            "#define TWINHULL_OPS_H",
            "",
            *(f"#define {name} {value}" for name, value in limits),
            "",
            "enum op_code {",
            *(f"\t{op_constant(row.name)} = {row.code}," for row in rows),
            "};",
            "",
            "enum op_stage { STAGE_HOST = 1, STAGE_CHILD, STAGE_UNDO };",
            "",
            "/* X(code, name, stage, kind of each argument, number of the argument that tells it from others):",
            " * s text, b bytes, i 64 bits, u 32 bits, p a port, f a descriptor number of the child. */",
            "#define OP_TABLE(X) \\",
            " \\\n".join(f"\t{op_row(row)}" for row in rows),
            "",
            "#endif",
            "",
        ]
    )


def op_constant(name: str) -> str:
    """read-only -> OP_READ_ONLY."""
    return "OP_" + name.upper().replace("-", "_")


def op_row(row: ops.OpType) -> str:
    """Return the X macro's call for one op."""
    kinds = "".join(argument_kind(argument) for argument in row.args)
    return f'X({op_constant(row.name)}, "{row.name}", STAGE_{row.stage.upper()}, "{kinds}", {telling_argument(row)})'


def argument_kind(argument: str) -> str:
    """Return the letter that the decoder checks "i:fd" by."""
    kind, name = argument.split(":")
    if kind != "i" or name in WIDE_ARGUMENTS:
        return kind
    if name in DESCRIPTOR_ARGUMENTS:
        return "f"
    return "p" if name in PORT_ARGUMENTS else "u"


def telling_argument(row: ops.OpType) -> int:
    """Return the place of the argument that an error message shows, or -1."""
    names = [argument.split(":")[1] for argument in row.args]
    for name in TELLING_ARGUMENTS:
        if name in names and not row.args[names.index(name)].startswith("b"):
            return names.index(name)
    return -1


def protocol_header() -> str:
    """Return the numbers of the framed protocol as C."""
    return "\n".join(
        [
            "/* Generated from src/twinhull/plan/frames.py by scripts/generate_headers.py. */",
            "#ifndef TWINHULL_PROTOCOL_H",
            "#define TWINHULL_PROTOCOL_H",
            "",
            f"#define PROTOCOL_VERSION {frames.PROTOCOL_VERSION}",
            f"#define FRAME_HEADER_BYTES {frames.HEADER.size}",
            f"#define MAX_PAYLOAD {frames.MAX_PAYLOAD_BYTES}",
            f"#define INITIAL_CREDIT {frames.INITIAL_CREDIT_BYTES}",
            "",
            "enum frame_kind {",
            *(f"\tFRAME_{name} = {value}," for name, value in frames.numbers(frames.Kind).items()),
            "};",
            "",
            "enum frame_flag {",
            *(f"\tFLAG_{name} = {value}," for name, value in frames.numbers(frames.Flag).items()),
            "};",
            "",
            "#endif",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
