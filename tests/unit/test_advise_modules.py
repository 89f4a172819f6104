"""Modules of the kernel: what this machine's has, what a machine's Debian has, and what nobody can tell."""

from __future__ import annotations

from tests.unit.test_advise import HERE, wishing
from twinhull.advice.advise import advise


def test_what_nobody_can_tell_of_a_kernel_is_not_told_as_a_fact() -> None:
    advice = advise(wishing(HERE._replace(unknown_modules=("zfs",))))
    assert advice.choice == "machine"
    assert "it is not known whether this kernel has zfs" in advice.reasons[0]
    assert not [reason for reason in advice.reasons if "needs no kernel" in reason or "has no zfs" in reason]


def test_what_is_known_of_the_modules_of_a_machine_is_said() -> None:
    here = HERE._replace(
        missing_modules=("zfs", "wireguard"), unknown_modules=("nbd",), machine_modules=("nbd",), machine_lacks=("zfs",)
    )
    (said,) = (row.sentence for row in advise(wishing(here)).fired if row.rule == "what the kernel of a machine has")
    assert [part.partition("--debian makes ")[2].partition(":")[0] for part in said.split("; ")] == [
        "has nbd",
        "comes without zfs",
        "has wireguard",
    ]
    assert "it is not known whether the Debian that --debian makes has wireguard" in said
    windows = wishing(here, system="windows")
    assert "what the kernel of a machine has" not in [row.rule for row in advise(windows).fired]
