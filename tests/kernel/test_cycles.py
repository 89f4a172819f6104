"""Hundreds of starts and stops leave the host as it was."""

from __future__ import annotations

import os

import pytest

from tests.support import leaks
from tests.support.command import Twinhull

CYCLES = 2000 if os.environ.get("TWINHULL_SOAK") else 200
VM_CYCLES = 1000 if os.environ.get("TWINHULL_SOAK") else 200


@pytest.mark.slow
@pytest.mark.timeout(7200 if CYCLES > 200 else 720)
def test_containers_leave_nothing_after_hundreds_of_cycles(twinhull: Twinhull) -> None:
    cycle(twinhull, "container", CYCLES)


@pytest.mark.slow
@pytest.mark.timeout(7200 if CYCLES > 200 else 720)
def test_virtual_machines_leave_nothing_after_hundreds_of_cycles(twinhull: Twinhull) -> None:
    twinhull.config.write_text("vm_spare = true\n")  # as they start by default
    cycle(twinhull, "vm", VM_CYCLES)


def cycle(twinhull: Twinhull, isolation: str, times: int) -> None:
    """Half of the cycles run to the end, half are started and removed."""
    for number in range(times):
        words = ("--isolation", isolation, "busybox")
        if number % 2:
            twinhull("run", "--rm", *words, "true", check=True)
        else:
            twinhull("run", "-d", "--name", "cycle", *words, "sleep", "1000", check=True)
            twinhull("rm", "-f", "cycle", check=True)
    assert twinhull.names() == []
    assert list((twinhull.root / "state/instances").iterdir()) == []
    assert list((twinhull.root / "run/exited").iterdir()) == []
    mounts = [mount for mount in leaks.mounts() if str(twinhull.root) in mount]
    assert mounts == []
