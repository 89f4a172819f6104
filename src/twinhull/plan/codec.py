"""Plans as bytes: the format that the launcher decodes. Pure, and the inverse of itself.

    file   = magic "TWPL", version u32, count u32, length u32 (of what follows), op*
    op     = code u16, argument count u16, length u32 (of what follows), argument*
    i      = length u32 (always 8), u64
    s, b   = length u32, bytes; text is followed by one NUL that the length counts

All integers are little-endian and nothing is aligned. docs/plan-format.md is the long version.
"""

from __future__ import annotations

from _struct import Struct
from _struct import error as StructError  # type: ignore[attr-defined]  # the stub lacks it

from twinhull.errors import InvalidRequest
from twinhull.plan.ops import BY_CODE, BY_NAME, MAX_OPS, MAX_PLAN_BYTES, VERSION, Arg, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"TWPL"
HEADER = Struct("<4sIII")
OP = Struct("<HHI")
LENGTH = Struct("<I")
INTEGER = Struct("<IQ")


def encode(ops: Iterable[Op]) -> bytes:
    """Return the ops as the launcher reads them.

    Raises:
        InvalidRequest: an op the table does not know, an argument of the wrong kind, a NUL in a
            text, or a plan that is too large.
    """
    parts = [encode_op(op) for op in ops]
    body = b"".join(parts)
    if len(parts) > MAX_OPS or len(body) + HEADER.size > MAX_PLAN_BYTES:
        raise InvalidRequest(
            f"the plan has {len(parts)} steps and {len(body)} bytes: too many arguments or mounts",
            hint=f"the limits are {MAX_OPS} steps and {MAX_PLAN_BYTES} bytes",
        )
    return HEADER.pack(MAGIC, VERSION, len(parts), len(body)) + body


def encode_op(op: Op) -> bytes:
    """Return one op as bytes."""
    row = BY_NAME.get(op.name)
    if row is None or len(row.args) != len(op.args):
        raise InvalidRequest(f"no op {op.name!r} with {len(op.args)} arguments")
    body = b"".join([encode_argument(kind, value) for kind, value in zip(row.args, op.args, strict=True)])
    return OP.pack(row.code, len(op.args), len(body)) + body


def encode_argument(kind: str, value: Arg) -> bytes:
    """Return one argument; `kind` is the table's "s:name", "i:name" or "b:name"."""
    match kind[0], value:
        case "i", int():
            return INTEGER.pack(8, value)
        case "s", str():
            data = value.encode("utf-8", "surrogateescape")
            if b"\0" in data:
                raise InvalidRequest(f"{kind[2:]} contains a NUL byte: {value!r}")
            return LENGTH.pack(len(data) + 1) + data + b"\0"
        case "b", bytes():
            return LENGTH.pack(len(value)) + value
    raise InvalidRequest(f"{kind[2:]} has the wrong type: {value!r}")


def decode(data: bytes) -> tuple[Op, ...]:
    """Return the ops of an encoded plan.

    Raises:
        InvalidRequest: the bytes are not a plan of this version.
    """
    try:
        magic, version, count, length = HEADER.unpack_from(data)
        if (magic, version, length) != (MAGIC, VERSION, len(data) - HEADER.size):
            raise InvalidRequest("not a plan of this version")
        ops, offset = [], HEADER.size
        for _ in range(count):
            code, arguments, size = OP.unpack_from(data, offset)
            offset += OP.size
            ops.append(decode_op(code, arguments, data[offset : offset + size]))
            offset += size
    except (StructError, KeyError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"damaged plan: {error}") from error
    if offset != len(data):
        raise InvalidRequest("damaged plan: bytes after the last op")
    return tuple(ops)


def decode_op(code: int, arguments: int, body: bytes) -> Op:
    """Return one op from its body."""
    row = BY_CODE[code]
    if arguments != len(row.args):
        raise InvalidRequest(f"damaged plan: {row.name} with {arguments} arguments")
    values: list[Arg] = []
    offset = 0
    for kind in row.args:
        (size,) = LENGTH.unpack_from(body, offset)
        raw = body[offset + 4 : offset + 4 + size]
        if len(raw) != size:
            raise InvalidRequest(f"damaged plan: {row.name} is cut short")
        offset += 4 + size
        values.append(decode_argument(kind, raw))
    if offset != len(body):
        raise InvalidRequest(f"damaged plan: {row.name} has bytes left over")
    return Op(row.name, tuple(values))


def decode_argument(kind: str, raw: bytes) -> Arg:
    """Return one argument from its bytes."""
    if kind[0] == "i":
        if len(raw) != 8:
            raise InvalidRequest("damaged plan: an integer is not 8 bytes long")
        return int.from_bytes(raw, "little")
    if kind[0] == "b":
        return raw
    if raw[-1:] != b"\0" or b"\0" in raw[:-1]:
        raise InvalidRequest("damaged plan: a text is not ended by its only NUL")
    return raw[:-1].decode("utf-8", "surrogateescape")
