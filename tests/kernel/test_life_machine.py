"""Any order of verbs, with kill -9 anywhere: what the command says agrees with a small model, and nothing stays.

`make soak` runs the same for hours.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.life import LifeMachine, VmLifeMachine

SOAK = bool(os.environ.get("TWINHULL_SOAK"))


def bounded(examples: int, steps: int) -> settings:
    """So many lives of so many steps; many more of them while soaking."""
    factor = 50 if SOAK else 1
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(
        max_examples=examples * factor,
        stateful_step_count=steps * (2 if SOAK else 1),
        deadline=None,
        suppress_health_check=slow,
        report_multiple_bugs=False,
        # A failing life is shown as it was: to look for a shorter one would take minutes on a real kernel.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )


@pytest.mark.slow
@pytest.mark.timeout(7200 if SOAK else 600)
def test_containers_live_as_the_model_says() -> None:
    run_state_machine_as_test(LifeMachine, settings=bounded(20, 12))


@pytest.mark.slow
@pytest.mark.timeout(7200 if SOAK else 600)
def test_virtual_machines_live_as_the_model_says() -> None:
    run_state_machine_as_test(VmLifeMachine, settings=bounded(6, 8))
