"""How results look: tables for people, JSON for programs, times as people say them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns padded to their widest cell, three spaces apart."""
    listed = [header, *rows]
    widths = [max(len(row[column]) for row in listed) for column in range(len(header))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in listed]
    return "\n".join(lines)


def document(value: object) -> str:
    """JSON for programs, that people can read too."""
    import json

    return json.dumps(value, indent=2)


def duration(seconds: float) -> str:
    """The largest unit only: "3 minutes"."""
    for size, word in UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {word}{'s' if count != 1 else ''}"
    return "less than a second"


def size(count: int) -> str:
    """Bytes in the unit that fits."""
    for unit, word in SIZES:
        if count >= unit:
            return f"{count / unit:.1f} {word}"
    return f"{count} B"


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC."""
    import time

    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e9):09d}Z"
