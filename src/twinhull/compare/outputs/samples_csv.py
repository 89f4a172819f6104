"""Raw samples as CSV (RFC 4180): one row a sample, for pandas, R and spreadsheets.

Promise: no cell begins with what a spreadsheet takes for a formula.
"""

from __future__ import annotations

import csv
import io

from twinhull.compare.outputs import quantities
from twinhull.compare.outputs.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.compare.outputs.document import Document

COLUMNS = ("subject", "quantity", "unit", "index", "value")
FORMULA = ("=", "+", "-", "@")


def render(document: Document) -> str:
    """The samples in the document's order; the index counts from 0 within its subject and quantity."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for key, values in document["samples"].items():
        subject, quantity = quantities.split(key)
        cells = [inert(cell) for cell in (subject, quantity.key, quantity.unit)]
        writer.writerows([*cells, index, repr(value)] for index, value in enumerate(values))
    return text.getvalue()


def inert(cell: str) -> str:
    """A cell that no spreadsheet evaluates, on one line; our own names are not touched."""
    shown = printable(cell)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
