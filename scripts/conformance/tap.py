"""The results in what a test program printed, in the Test Anything Protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scripts.conformance.suite import Outcome, Result

_LINE = re.compile(r"(?P<bad>not )?ok\b *\d* *(?:- )?(?P<name>.*?) *(?P<skip># *skip.*)?", re.IGNORECASE)


def tap_results(program: str, output: str) -> Iterator[Result]:
    """A result for each line that is one; its reason is what was printed between it and the one before."""
    reason: list[str] = []
    for line in output.splitlines():
        if found := _LINE.fullmatch(line):
            outcome: Outcome = "failed" if found["bad"] else "skipped" if found["skip"] else "passed"
            yield Result(f"{program}: {found['name']}", outcome, "\n".join(reason))
            reason = []
        elif not re.match(r"\d+\.\.\d+", line):
            reason.append(line)
