"""So many instances: what the user allows, what is free, and the other limits of this machine."""

from __future__ import annotations

from typing import Any

from tests.unit.test_advise import HERE, MEASURED, TRUSTED, wishing
from twinhull.advice.advise import advise
from twinhull.advice.question import Cost, Limit, Question, Room


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


def test_a_machine_is_judged_by_what_was_measured_of_one() -> None:
    slow = advise(wishing(system="windows", start_within_s=0.5))  # a VM would be in time
    assert (slow.choice, slow.reasons[1]) == (
        "stop",
        "a machine starts in 9.00 s (measured with Debian), more than 500 ms",
    )
    many = advise(wishing(HERE._replace(missing_modules=("zfs",)), instances=60, memory_budget_bytes=4 * 10**9))
    assert (many.choice, many.reasons[1]) == (
        "stop",
        "60 machines take 18.0 GB (measured with Debian), more than the 4.00 GB that you allow",
    )


def test_of_a_machine_that_was_not_measured_it_is_known_that_it_is_more_than_a_vm() -> None:
    def silent(**wishes: Any) -> Question:
        return wishing(**wishes)._replace(measured=MEASURED._replace(machine=Cost()))

    late = advise(silent(own_kernel=True, start_within_s=0.1))
    assert late.choice == "stop"
    assert (
        "a machine (none was measured) boots more than a VM, and that starts in 200 ms, more than 100 ms"
        in late.reasons
    )
    assert advise(silent(own_kernel=True, instances=10, memory_budget_bytes=699_000_000)).choice == "stop"
    assert advise(silent(system="windows", start_within_s=0.5)).choice == "machine"
