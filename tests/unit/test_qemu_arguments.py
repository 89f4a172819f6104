"""QEMU's command line and the jail around it, as data."""

from __future__ import annotations

from typing import Any

import pytest

from twinhull.model import Facts, Volume
from twinhull.network import endpoint
from twinhull.plan import pc, qemu
from twinhull.plan.guest import guest_plan, place_shares
from twinhull.plan.jail import (
    FIRST_UID,
    OVERHEAD_BYTES,
    SHARE_CAPABILITIES,
    THREADS,
    UIDS,
    Jail,
    cards,
    jail_plan,
    jail_user,
    restored,
)
from twinhull.plan.ops import BY_NAME, Op, Plan
from twinhull.plan.qemu import Drives, Machine, arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.qemu import Memory

COMPUTER = pc.Computer("tcg", 1, 1 << 30, "02:74:0a:57:00:02")
MACHINE = Machine("tcg", 1, 256 << 20, tsc_khz=2_000_000)
FACTS = Facts(cgroup2="/sys/fs/cgroup", cgroup2_controllers=("cpu", "memory", "pids"), max_files=1 << 20)


DRIVES = Drives()
KINDS_OF_MEMORY: tuple[Memory, ...] = ("private", "saved", "restored", "copied")


def argv(machine: Machine = MACHINE, *, memory: Memory = "restored", drives: Drives = DRIVES) -> tuple[str, ...]:
    return arguments(machine, memory=memory, drives=drives, binary="/usr/bin/qemu")


def value(words: tuple[str, ...], option: str) -> str:
    return words[words.index(option) + 1]


def jail(**changes: Any) -> Jail:
    return Jail("0123456789abcdef", "/twinhull/x", "/root", argv(), b"filter")._replace(**changes)


@pytest.mark.parametrize("memory", KINDS_OF_MEMORY)
def test_qemu_is_sandboxed_and_has_no_default_device(memory: Memory) -> None:
    words = argv(memory=memory)
    assert value(words, "-sandbox") == "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    assert {"-nodefaults", "-no-user-config"} <= set(words)


def test_no_argument_names_a_path_of_the_host() -> None:
    for memory in KINDS_OF_MEMORY:
        words = argv(Machine("kvm", 2, 1 << 30, shares=True), memory=memory)[1:]
        paths = [word for word in words if "/" in word]
        assert all(any(part in word for part in ("/proc/self/fd/", "/dev/fdset/", "path=/shares")) for word in paths)


def test_only_a_boot_has_a_kernel_and_only_a_restore_waits_for_a_state() -> None:
    assert ("-kernel" in argv(memory="private"), "-incoming" in argv(memory="private")) == (True, False)
    assert ("-kernel" in argv(memory="restored"), "-incoming" in argv(memory="restored")) == (False, True)


def test_the_devices_of_a_template_are_those_of_its_guests() -> None:
    def devices(words: tuple[str, ...]) -> list[str]:
        return [words[index + 1] for index, word in enumerate(words) if word == "-device"]

    saved, started = argv(memory="saved", drives=Drives(False, False)), argv()
    assert devices(saved) == devices(started)
    assert value(saved, "-machine") == value(started, "-machine")


def test_only_memory_that_is_nobody_elses_is_given_back() -> None:
    given_back = {memory: "free-page-reporting=on" in " ".join(argv(memory=memory)) for memory in KINDS_OF_MEMORY}
    assert given_back == {"private": True, "saved": False, "restored": False, "copied": False}


def test_an_emulated_guest_has_no_timer_that_runs_for_nobody() -> None:
    boards = {used: value(argv(MACHINE._replace(accelerator=used)), "-machine") for used in ("tcg", "kvm")}
    assert "pit=off" in boards["tcg"]
    assert "pit=on" in value(argv(MACHINE._replace(acpi=False)), "-machine")
    assert "pit=on" in boards["kvm"]


def test_ram_is_shared_only_with_the_file_that_a_template_is_saved_to() -> None:
    assert "share=on" in value(argv(memory="saved"), "-object")
    assert "share=off" in value(argv(memory="restored"), "-object")


def test_the_image_is_read_only_and_only_a_durable_disk_is_flushed() -> None:
    words = " ".join(argv())
    assert "node-name=image,read-only=on" in words
    assert "no-flush" not in words
    assert "cache.no-flush=on" in " ".join(argv(drives=Drives(durable=False)))


def test_no_disk_stops_its_guest_when_the_host_cannot_write() -> None:
    disks = [word for word in (*argv(), *pc.arguments(COMPUTER, binary="qemu")) if word.startswith("virtio-blk")]
    assert len(disks) == 3 and all("werror=report,rerror=report" in disk for disk in disks)


def test_a_guest_under_kvm_keeps_its_mitigations() -> None:
    assert "mitigations=off" in value(argv(memory="private"), "-append")
    assert "mitigations" not in value(argv(Machine("kvm", 1, 256 << 20), memory="private"), "-append")


def test_the_tap_has_the_number_that_the_network_gives_it() -> None:
    assert endpoint.TAP_FD == qemu.TAP_FD


def test_every_op_of_the_jail_is_in_the_table_and_descriptors_do_not_collide() -> None:
    plan = jail_plan(restored(jail(volumes=(Volume("/srv", "/srv"),)), "/state"), FACTS)
    for op in (*plan.host, *plan.child, *plan.undo):
        assert len(op.args) == len(BY_NAME[op.name].args), op
    numbers = [op.args[0] for op in plan.host if op.name in ("open", "inherit", "listen", "channel", "tap")]
    assert len(numbers) == len(set(numbers))


def test_qemu_has_a_user_of_its_own_and_no_capability() -> None:
    child = jail_plan(jail(), FACTS).child
    assert Op("capabilities", (0, 0, 0, 0, 0)) in child
    assert Op("no-new-privileges") in child
    (user,) = [op.args[0] for op in child if op.name == "user"]
    assert user == jail_user("0123456789abcdef") != jail_user("1123456789abcdef")
    assert FIRST_UID <= jail_user("ffffffff") <= FIRST_UID + UIDS < 1 << 31


def test_only_volumes_give_qemu_capabilities_and_never_that_of_making_nodes() -> None:
    child = jail_plan(jail(volumes=(Volume("/srv", "/srv", readonly=True),)), FACTS).child
    assert Op("capabilities", (SHARE_CAPABILITIES,) * 5) in child
    assert not SHARE_CAPABILITIES & (1 << 27 | 1 << 21 | 1 << 2), "neither MKNOD nor SYS_ADMIN nor DAC_READ_SEARCH"
    assert Op("bind", ("/srv", "/shares/volume0", 1, 1 | 2 | 4)) in child


def test_a_guest_has_one_card_more_than_its_networks_but_not_in_a_namespace_of_somebody_elses() -> None:
    taps = tuple(Op("tap", (qemu.TAP_FD - number, f"tap{number}", 7)) for number in range(qemu.MAX_NICS))
    assert [cards(taps[:count]) for count in (0, 1, 2, 7, 8)] == [2, 2, 3, 8, 8]
    assert cards((Op("join-namespace", ("net", "/x")), *taps[:1])) == 1
    argv = qemu.arguments(
        qemu.Machine("tcg", 1, 256 << 20, nics=3), memory="private", drives=qemu.Drives(), binary="/qemu"
    )
    assert qemu.cards_in(argv) == 3


def test_a_jail_without_a_network_gets_a_tap_that_leads_nowhere() -> None:
    names = [op.name for op in jail_plan(jail(), FACTS).host]
    assert names.count("netns") == names.count("tap") == 1
    connected = jail_plan(jail(), FACTS, (Op("netns"), Op("tap", (qemu.TAP_FD, "tap0", 7)))).host
    assert [op.name for op in connected].count("tap") == 1


def test_the_host_always_limits_memory_and_threads_of_the_whole_qemu() -> None:
    host = jail_plan(jail(memory_bytes=1 << 30, cpus=2), FACTS).host
    assert Op("write", ("/sys/fs/cgroup/twinhull/x/memory.max", str((1 << 30) + OVERHEAD_BYTES))) in host
    assert Op("write", ("/sys/fs/cgroup/twinhull/x/pids.max", str(THREADS + 2))) in host
    assert not any("swap" in str(op) for op in host), "the host may swap it out as anything else"


@pytest.mark.parametrize("facts", [FACTS._replace(cgroup2_controllers=()), FACTS._replace(cgroup2="", rootless=True)])
def test_a_host_that_can_limit_nothing_starts_it_without_limits(facts: Facts) -> None:
    assert not any(op.name == "write" for op in jail_plan(jail(), facts).host)


def test_volumes_arrive_in_a_guest_as_binds_of_one_share() -> None:
    root = (
        Op("private-mounts"),
        Op("stage", ("erofs", "/dev/vda", "image", 1, "")),
        Op("overlay", ("", "", "", "", 0)),
    )
    placed = place_shares((*root, Op("share", ("volume0", "/a", 1)), Op("share", ("volume1", "/b", 0))))
    assert [op.name for op in placed] == ["private-mounts", "stage", "stage", "overlay", "bind", "bind"]
    assert placed[1].args[:3] == ("9p", "shares", "shares")
    assert placed[4] == Op("bind", ("/run/stage/shares/volume0", "/a", 0, 1 | 4))


def test_a_guest_without_volumes_mounts_no_share() -> None:
    child = (Op("private-mounts"), Op("exec", ("sh",)))
    assert guest_plan(Plan((), child, ())) == child


def test_the_cgroup_in_a_guest_has_the_name_that_the_template_made() -> None:
    host = (Op("cgroup2", ("/sys/fs/cgroup/twinhull/abc",)), Op("write", ("/sys/fs/cgroup/twinhull/abc/pids.max", "9")))
    assert guest_plan(Plan(host, (), ())) == (
        Op("cgroup2", ("/sys/fs/cgroup/twinhull/workload",)),
        Op("write", ("/sys/fs/cgroup/twinhull/workload/pids.max", "9")),
    )
