"""What only one side can do, and the stacks: both put together from what was seen on each side."""

from __future__ import annotations

import pytest

from twinhull.compare import only, stacks
from twinhull.compare.only import ATTEMPTS, Answer, Attempt
from twinhull.host.stack import Layer

LOCK = Attempt("lock", "container", "honour a lock", "flock", "a lock is the kernel's")


def answers(**seen: bool) -> dict[str, dict[str, Answer]]:
    return {side: {"lock": Answer(works, "")} for side, works in seen.items()}


@pytest.mark.parametrize(
    ("seen", "alone"),
    [
        ({"container": True, "vm": False}, True),
        ({"container": True, "vm": True}, False),
        ({"container": False, "vm": True}, False),
        ({"container": False, "vm": False}, False),
        ({"container": True}, False),
        ({}, False),
    ],
)
def test_only_means_that_it_worked_there_and_was_tried_in_vain_on_the_other(seen: dict[str, bool], alone: bool) -> None:
    entry = only.entry(LOCK, answers(**seen))
    assert entry["works"] is alone
    assert set(entry["outcomes"]) == set(seen)


def test_attempts_are_named_once_and_belong_to_a_side() -> None:
    assert len({one.name for one in ATTEMPTS}) == len(ATTEMPTS)
    assert {one.side for one in ATTEMPTS} == {"vm", "container"}


def test_the_phrase_counts_what_was_tried() -> None:
    found = [only.entry(LOCK, answers(container=True, vm=False)), only.entry(LOCK, answers(container=True, vm=True))]
    assert only.told(found, "container") == "alone can 1 of 2 things tried"
    assert only.told(found, "vm") == ""


def test_names_of_modules() -> None:
    assert only.names("overlay 151552 1 - Live 0x0\nvirtio_net 73728 0 - Live 0x0\n") == {"overlay", "virtio_net"}
    assert only.names("") == set()


def test_layers_of_all_stacks_are_shared_and_the_others_are_not() -> None:
    below = (Layer("Infrastructure", "CPU", ("2 CPUs",)), Layer("Host OS", "Debian", ("Linux 6.18", "more")))
    found = stacks.marked({
        "container": (*below, Layer("Engine", "twinhull", ())),
        "vm": (*below, Layer("Hypervisor", "QEMU", ("TCG",))),
    })  # fmt: skip

    assert [layer["shared"] for layer in found["vm"]] == [True, True, False]
    assert [layer["shared"] for layer in found["container"]] == [True, True, False]
    assert found["vm"][1] == {
        "layer": "Host OS", "name": "Debian", "version": "Linux 6.18", "details": ["more"], "shared": True
    }  # fmt: skip
    assert found["container"][2]["version"] == ""


def test_one_stack_alone_shares_nothing() -> None:
    found = stacks.marked({"vm": (Layer("Host OS", "Debian", ()),)})
    assert not found["vm"][0]["shared"]
