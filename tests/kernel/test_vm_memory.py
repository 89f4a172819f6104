"""Memory that a guest does not use any more is the host's again, where the guest was booted for its workload."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.command import Twinhull
from tests.support.vm import machine, wait_until
from twinhull.host import memory

FILLED_BYTES, MOST_BYTES, SLACK_BYTES = 96 << 20, 70 << 20, 2 << 20
FILL = "dd if=/dev/zero of=/dev/shm/filled bs=1M count=96"
# Free pages that lie apart cannot be given back, and what is filled next lies there first.
COMPACT = "echo 1 > /proc/sys/vm/drop_caches; echo 1 > /proc/sys/vm/compact_memory"


class Guest:
    """A machine whose memory is filled on word. Sizes are those of its QEMU on the host, in bytes."""

    def __init__(self, vm: Twinhull, *flags: str) -> None:
        words = ("run", "-d", "--vm", *flags, "--network", "none", "--shm-size", "128m", "busybox", "sleep", "1000")
        self.vm = vm
        self.identity = vm(*words, check=True, timeout_s=120).stdout.strip()
        self.qemu = machine(vm, self.identity).qemu

    def do(self, command: str) -> None:
        self.vm("exec", self.identity, "sh", "-c", command, check=True)

    def settled_bytes(self) -> int:
        """What it takes once it gives nothing back any more, as it does with what its boot has used."""
        looks = [self.taken_bytes, self.later_bytes(), self.later_bytes()]
        while looks[-3] - looks[-1] > SLACK_BYTES:
            looks.append(self.later_bytes())
        return looks[-1]

    def later_bytes(self) -> int:
        """What it takes a look of the guest's kernel later, which is every two seconds."""
        time.sleep(3)
        return self.taken_bytes

    @property
    def taken_bytes(self) -> int:
        return memory.pss(Path(f"/proc/{self.qemu}/smaps_rollup").read_text())


def test_what_a_booted_guest_frees_is_the_hosts_again(vm: Twinhull) -> None:
    guest = Guest(vm, "--no-template", "--privileged")
    guest.do(COMPACT)
    before = guest.settled_bytes()
    guest.do(FILL)
    assert guest.taken_bytes - before > MOST_BYTES
    guest.do("rm /dev/shm/filled")
    wait_until(lambda: guest.taken_bytes - before < FILLED_BYTES - MOST_BYTES, "its memory is given back")
    guest.do(FILL)  # and it can be had again
    assert guest.taken_bytes - before > MOST_BYTES


def test_a_smaller_limit_gives_back_what_a_booted_guest_kept_for_later(vm: Twinhull) -> None:
    guest = Guest(vm, "--no-template", "-m", "160m")
    guest.do("dd if=/dev/zero of=/kept bs=1M count=96; sync")
    full = guest.settled_bytes()
    vm("update", "--memory", "32m", guest.identity, check=True)
    wait_until(lambda: full - guest.taken_bytes > FILLED_BYTES // 2, "its cache is given back")


def test_what_a_guest_of_a_template_frees_stays_with_it(vm: Twinhull) -> None:
    """Its memory is mapped from the template, which no hole may be made in (docs/vm.md)."""
    guest = Guest(vm)
    guest.do(FILL)
    filled = guest.taken_bytes
    guest.do("rm /dev/shm/filled; sleep 4")
    assert filled - guest.taken_bytes < FILLED_BYTES - MOST_BYTES


def test_only_translated_code_lies_on_huge_pages(vm: Twinhull) -> None:
    if "[madvise]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        pytest.skip("here QEMU is not asked where it wants huge pages")
    guest = Guest(vm)
    modes, mode = [], ""
    for line in Path(f"/proc/{guest.qemu}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            mode = rest[0]
        elif first == "AnonHugePages:" and rest[0] != "0":
            modes.append(mode)
    assert modes == ["rwxp"], "ACPI's tables are one page of 4 KiB and no huge one"
