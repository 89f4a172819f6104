"""What would change an answer does, by itself; several are named where only together they do."""

from __future__ import annotations

import pytest

from tests.unit.test_advise import HERE, TCG, TRUSTED, asking, holding, packed, wishing
from twinhull.advice.advise import advise
from twinhull.advice.question import Question

FREE = HERE._replace(free_memory_bytes=700_000_000)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (
            wishing(FREE, instances=600, isolation="vm"),
            [
                "code you do not trust (then it must not run here)",
                "a kernel or architecture that is not the host's (then it must not run here)",
                "more memory (then a VM)",
                "no more than 10 instances (then a VM)",
            ],
        ),
        (
            wishing(FREE, instances=600, own_kernel=True),
            [
                "code that runs on the host's kernel (then a container)",
                "more memory (then a VM)",
                "no more than 10 instances (then a VM)",
            ],
        ),
        (
            wishing(TCG, untrusted=True),
            [
                "code you trust (then a container)",
                "KVM on this machine (then a VM)",
                "--accept-weak-wall, behind a wall that nobody promises, as inspect and ps will say (then a VM)",
            ],
        ),
        (asking(TCG, untrusted=True, sockets=("/run/docker.sock",)), ["code you trust (then a container)"]),
        (packed(architecture="riscv64"), ["an image for this processor (then a container)"]),
        (
            wishing(start_within_s=0.01, own_kernel=True),
            ["more time for the start (then a VM)"],
        ),
        (
            holding(vm=19, machine=19, own_kernel=True, start_within_s=0.01),
            ["more time for the start, and a higher limit of this machine (then a VM)"],
        ),
        (
            TRUSTED._replace(here=HERE._replace(no_container="no", no_vm="no")),
            [
                "what containers lack here, by twinhull doctor (then a container)",
                "what VMs lack here, by twinhull doctor (then a VM)",
            ],
        ),
    ],
)
def test_what_is_said_to_change_an_answer(question: Question, said: list[str]) -> None:
    assert list(advise(question).would_change) == said
