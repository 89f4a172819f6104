"""The values that `machine create` refuses."""

from __future__ import annotations

import pytest

from twinhull.cli import machine
from twinhull.errors import InvalidRequest


@pytest.mark.parametrize("text", ["0", "1", "nonsense"])
def test_a_memory_that_no_system_starts_with_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        machine.memory(text)
    assert machine.memory("64m") == 64 << 20
