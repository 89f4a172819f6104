"""Guests with another processor, as data: the board, the filter of system calls, the kernel, and the refusals."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest

from twinhull.compare import processors
from twinhull.config import Config
from twinhull.engine import foreign, preview
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import attempts, facts, seccomp
from twinhull.model import Request
from twinhull.plan.qemu import Drives, Machine, arguments
from twinhull.runtime import bzimage, container

X86, ARM = Machine("tcg", 1, 256 << 20, tsc_khz=2_000_000), Machine("tcg", 1, 256 << 20, architecture="arm64")
# linux/audit.h
AUDIT_ARCH = {"amd64": 0xC000003E, "arm64": 0xC00000B7}
KERNEL = bytes(0x38) + b"ARM\x64" + b"Linux version 6.1.0 (x)"


def words(machine: Machine) -> tuple[str, ...]:
    return arguments(machine, memory="private", drives=Drives(), binary="qemu")


def kinds(machine: Machine) -> list[str]:
    listed = words(machine)
    return [listed[index + 1].partition(",")[0] for index, word in enumerate(listed) if word == "-device"]


def test_the_boards_have_the_same_devices() -> None:
    assert kinds(X86) == kinds(ARM)


def test_each_board_boots_with_what_its_kernel_knows() -> None:
    x86, arm = (words(machine)[words(machine).index("-append") + 1].split() for machine in (X86, ARM))
    assert "console=ttyS0" in x86 and "tsc=reliable" in x86
    assert "console=ttyAMA0" in arm and not any("tsc" in word for word in arm)
    assert {"psi=0", "audit=0", "mitigations=off"} <= set(x86) & set(arm)


def test_the_disks_of_an_arm_board_have_their_places() -> None:
    disks = [word for word in words(ARM) if word.startswith("virtio-blk")]
    assert [word.rpartition("=")[2] for word in disks] == ["virtio-mmio-bus.0", "virtio-mmio-bus.1"]


@pytest.mark.skipif(not attempts.library("libseccomp.so.2"), reason="needs libseccomp")
def test_the_filter_of_another_processor_answers_for_that_one_alone(tmp_path: Path) -> None:
    own = facts.architecture()
    other = "arm64" if own == "amd64" else "amd64"
    programs = {
        own: seccomp.default_filter(str(tmp_path)),
        other: seccomp.default_filter(str(tmp_path), processor=other),
    }
    for name, program in programs.items():
        values = {struct.unpack_from("<HBBI", program, at)[3] for at in range(0, len(program), 8)}
        assert values & set(AUDIT_ARCH.values()) == {AUDIT_ARCH[name]}


def test_an_uncompressed_kernel_for_arm_is_taken_as_it_is() -> None:
    assert bzimage.extract(KERNEL) == KERNEL == bzimage.extract(gzip.compress(KERNEL))
    assert bzimage.release(KERNEL) == "6.1.0"


def test_an_older_processor_of_a_kind_needs_no_other_guest() -> None:
    also = {"amd64": "386", "arm64": "arm/v7"}.get(facts.architecture(), "")
    if also:
        assert foreign.guest_of(f"linux/{also}") is None
    assert foreign.guest_of("") is None


def test_a_32_bit_image_for_arm_has_a_64_bit_guest() -> None:
    if facts.architecture() == "amd64":
        assert foreign.guest_of("linux/arm/v7") == foreign.guest_of("linux/arm64") == "arm64"


def test_what_no_guest_and_no_kernel_runs_names_a_package() -> None:
    for isolation in ("vm", "container"):
        with pytest.raises(HostUnfit, match="for s390x") as caught:
            foreign.check(Config(), "linux/s390x", isolation)
        assert "apt-get install qemu-user-static" in caught.value.hint
        assert ("virtual machines are for amd64 and arm64" in caught.value.message) == (isolation == "vm")


def test_a_plan_is_refused_before_an_image_is_fetched(tmp_path: Path) -> None:
    request = Request("127.0.0.1:1/nothing", isolation="vm", platform="linux/s390x")
    with pytest.raises(HostUnfit, match="not for s390x"):
        preview.preview(Config(state=str(tmp_path / "state"), run=str(tmp_path / "run")), request)


def test_what_is_no_platform_is_refused_as_that() -> None:
    with pytest.raises(InvalidRequest, match="no such platform"):
        foreign.check(Config(), "linux/pdp11", "vm")


def test_a_launcher_that_was_not_built_names_its_compiler(tmp_path: Path) -> None:
    (tmp_path / "launcher").touch(0o755)
    with pytest.raises(HostUnfit, match="guests of arm64") as caught:
        container.foreign_launcher(str(tmp_path / "launcher"), "arm64")
    assert "gcc-aarch64-linux-gnu" in caught.value.hint


def test_what_runs_here_needs_nothing(tmp_path: Path) -> None:
    foreign.check(Config(launcher=str(tmp_path / "nothing")), f"linux/{facts.architecture()}", "vm")
    foreign.check(Config(), "", "container")


def test_a_comparison_tells_what_each_side_did_with_another_processor() -> None:
    sides = {
        "vm": {"works": True, "why": "", "start_s": 6.2},
        "container": {"works": False, "why": "this kernel does not execute programs for arm64", "start_s": None},
    }
    tried = [{"platform": "linux/arm64", "why": "", "sides": sides}]
    assert processors.told(tried, "vm") == "other processors: linux/arm64 ran, first start in 6.20 s"
    assert processors.told(tried, "container") == "other processors: linux/arm64 did not run"
    assert processors.told([{"platform": "linux/arm64", "why": "not built", "sides": {}}], "vm") == ""
    assert processors.refusal("fetching\ntwinhull: no such thing\n  hint: x\n") == "no such thing"
