"""What a guest does before it is saved: of use only if the plans that come later ask for just that."""

from __future__ import annotations

import pytest

from tests.golden.test_plans import HYBRID, IMAGE, NETWORK
from twinhull.model import Request, Volume
from twinhull.oci.spec import Identity, make_spec
from twinhull.plan.compile import Root, compile_plan
from twinhull.plan.guest import ahead_plan, guest_plan, standard_root
from twinhull.plan.ops import Op

VM = Request("i", isolation="vm")
REQUESTS = {
    "default": VM,
    "limits": VM._replace(memory_bytes=64 << 20, cpus=1.0, pids_limit=50),
    "volume": VM._replace(volumes=(Volume("/data", "/data"),)),
    "terminal, read-only, user": VM._replace(tty=True, readonly=True, user="5:6"),
    "no network": VM._replace(network="none"),
}


def planned(request: Request) -> tuple[Op, ...]:
    spec = make_spec(IMAGE, request, Identity("abc", "box", ()))
    return guest_plan(compile_plan(spec, HYBRID, Root("", "image", "disk", ""), NETWORK, place="guest"))


@pytest.mark.parametrize("name", REQUESTS)
def test_every_plan_asks_for_all_that_waits_on_the_scaffold(name: str) -> None:
    ahead = set(standard_root())
    assert [op for op in planned(REQUESTS[name]) if op in ahead] == list(standard_root())


def test_the_scaffold_comes_last_and_holds_nothing_of_a_workload() -> None:
    names = [op.name for op in ahead_plan()]
    assert names.count("scaffold") == 1
    on_scaffold = set(names[names.index("scaffold") + 1 :])
    assert on_scaffold == {"filesystem", "device", "symlink", "mask", "read-only"}
