"""So many instances: what the user allows, what is free, and the other limits of this machine."""

from __future__ import annotations

from tests.unit.test_advise import HERE, MEASURED, TRUSTED, wishing
from twinhull.advice.advise import advise
from twinhull.advice.question import Cost, Limit, Room


def test_a_budget_makes_no_memory_that_is_not_there() -> None:
    free = HERE._replace(free_memory_bytes=650_000_000)
    advice = advise(wishing(free, own_kernel=True, instances=10, memory_budget_bytes=10**12))
    assert advice.choice == "stop"
    assert "10 VMs take 700 MB, more than the 650 MB that are free" in advice.reasons
    less = advise(wishing(free, own_kernel=True, instances=10, memory_budget_bytes=640_000_000))
    assert "10 VMs take 700 MB, more than the 640 MB that you allow" in less.reasons
    assert advise(wishing(free, own_kernel=True, memory_budget_bytes=10**12)).choice == "vm"


def test_the_first_limit_is_told_with_what_it_was_computed_from() -> None:
    pids = Limit("pids", 7, "15 of kernel.pid_max left, 2 each", 7, 7)
    asked = wishing(instances=8)._replace(room=Room(container=(pids, Limit("disk", 9, "", 9, 9))))
    (told,) = [row.sentence for row in advise(asked).fired if row.rule == "containers reach a limit of this machine"]
    assert told == "at most 7 more containers fit here, not 8: pids bind first, 15 of kernel.pid_max left, 2 each"
    one = asked._replace(room=Room(container=(pids._replace(most=1),)), measured=MEASURED._replace(own=False))
    (told,) = [row.sentence for row in advise(one).fired if row.rule == "containers reach a limit of this machine"]
    assert told.startswith("at most 1 more container fits here, not 8: ")
    assert told.endswith("2 each (measured with app)")


def test_what_each_takes_one_of_is_nobodys_figure() -> None:
    asked = wishing(system="windows", instances=8)._replace(measured=MEASURED._replace(own=False, machine=Cost()))
    narrow = asked._replace(room=Room(machine=(Limit("addresses", 5, "5 of the subnet left, 1 each", 5, 5),)))
    assert advise(narrow).reasons[-1].endswith("addresses bind first, 5 of the subnet left, 1 each")


def test_a_machine_that_was_not_measured_takes_at_least_what_a_vm_takes() -> None:
    asked = TRUSTED._replace(
        wishes=TRUSTED.wishes._replace(system="windows", instances=8),
        measured=MEASURED._replace(machine=Cost()),
        room=Room(machine=(Limit("processor", 7, "70 %, 10 % each", 7, 7),)),
    )
    advice = advise(asked)
    assert advice.choice == "stop"
    assert advice.reasons[-1].endswith("10 % each; a machine takes at least what a VM takes")
