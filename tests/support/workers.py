"""Which tests one of several workers takes: those of a file, as they share what is costly to make."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

TOGETHER = ("tests/claims/",)  # directories whose files share it too


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A worker gets a whole file, or a whole directory."""

    def _split_scope(self, nodeid: str) -> str:
        directory = next((directory for directory in TOGETHER if nodeid.startswith(directory)), "")
        return directory or str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Called where there is more than one worker."""
    return ByFile(config, log)
