"""The table of SPEC.md as values, so that the limits stand in one place only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

SPEC = Path(__file__).parents[1] / "SPEC.md"
ROW = re.compile(r"^\| ([a-z-]+) \| (.+?) \| ([a-z]+).*? \| ([0-9.]+) (×|MB|processes) \|$", re.MULTILINE)


class Promise(NamedTuple):
    """One row: at most `limit`, as a ratio to `against` or as an amount in `unit`."""

    name: str
    what: str
    against: str
    limit: float
    unit: str


def read_promises(text: str) -> dict[str, Promise]:
    """Return the promises of the document by name."""
    return {
        name: Promise(name, what, against, float(limit), unit) for name, what, against, limit, unit in ROW.findall(text)
    }
