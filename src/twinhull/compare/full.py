"""What only `--full` measures: minutes of work, or things that a quick look can do without.

Promise: a comparison that leaves a section out says so in its gaps.
"""

from __future__ import annotations

from twinhull.compare import load, only, portability
from twinhull.compare.session import Session
from twinhull.compare.subject import MeasurementFailed

SECTIONS = ("load", "portability", "only")
REASON = "measured with --full"


def measure(session: Session, image: str) -> None:
    """Fill the sections, or say that they are left out."""
    if session.effort.name != "full":
        for section in SECTIONS:
            session.findings.gap(section, REASON)
        return
    with session.apart():
        try:
            only.try_only(session)
        except MeasurementFailed as error:
            session.findings.gap("only", error.message)
        portability.measure_portability(session, image)
        load.measure_load(session)
