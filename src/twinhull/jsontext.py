"""JSON without what the import of json brings: 16 ms at each start, for regular expressions mostly.

Promise: the same text and the same values as json's own functions give; tests compare the two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPACE = " \t\n\r"
CONSTANTS = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}


class Reading:
    """How the scanner reads: json's defaults."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int, parse_constant = float, int, CONSTANTS.__getitem__


def accelerators() -> Any:
    """The functions in C below json's own, None in an interpreter without them."""
    try:
        import _json
    except ImportError:
        return None
    return _json


COMPILED = accelerators()


def dumps(value: object, *, compact: bool = False) -> str:
    """Return a value as JSON in ASCII, on one line.

    Args:
        compact: without spaces, as canonical documents are written.

    Raises:
        TypeError: something in it has no JSON.
        ValueError: it contains itself.
    """
    item, key = (",", ":") if compact else (", ", ": ")
    if COMPILED is None:
        import json

        return json.dumps(value, separators=(item, key))
    if isinstance(value, str):
        return str(COMPILED.encode_basestring_ascii(value))
    encode = COMPILED.make_encoder({}, refuse, COMPILED.encode_basestring_ascii, None, key, item, False, False, True)
    return "".join(encode(value, 0))


def refuse(value: object) -> None:
    """The encoder asks for something else in the place of a value that it does not know.

    Raises:
        TypeError: there is nothing else.
    """
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def loads(text: str | bytes | bytearray) -> Any:
    """Return what a JSON text says; bytes are UTF-8.

    Raises:
        ValueError: it is not JSON, or something follows it.
        RecursionError: it is nested deeper than the interpreter's stack.
    """
    if isinstance(text, bytes | bytearray):
        text = text.decode("utf-8", "surrogatepass")
    if COMPILED is not None:
        stripped = text.strip(SPACE)
        try:
            value, end = COMPILED.make_scanner(Reading)(stripped, 0)
        except (StopIteration, SystemError, ValueError):
            end = -1  # malformed: the error is a class of json's, and SystemError says that it is not imported
        if end == len(stripped):
            return value
    import json

    return json.loads(text)
