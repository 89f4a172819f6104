"""What a kernel's own files say of a module, and when they cannot say anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twinhull.host import modules
from twinhull.host.facts import read

CONFIG = "CONFIG_EXT4_FS=y\nCONFIG_TUN=y\nCONFIG_NFT_FIB=m\n# CONFIG_WIREGUARD is not set\nCONFIG_HZ=250\n"


@pytest.mark.parametrize(
    ("name", "listed", "has"),
    [
        ("ext4", None, True),
        ("tun", None, True),
        ("nft_fib", None, False),
        ("wireguard", None, False),
        ("zfs", None, None),
        ("hz", None, None),
        ("zfs", frozenset(("loop",)), False),
        ("loop", frozenset(("loop",)), True),
        ("fuse_ctl", None, True),
    ],
)
def test_a_module_is_there_or_not_or_not_known(name: str, listed: frozenset[str] | None, has: bool | None) -> None:
    known = modules.filesystems("nodev\tsysfs\nnodev\tfuse-ctl\n\txfs\n\n")
    assert modules.judged(name, listed, known, modules.configured(CONFIG)) is has


def test_the_modules_of_a_system_are_those_that_its_lists_name(tmp_path: Path) -> None:
    assert modules.within(str(tmp_path)) == frozenset()
    directory = tmp_path / "lib/modules/6.1.0-50-cloud-amd64"
    directory.mkdir(parents=True)
    (directory / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (directory / "modules.dep").write_text(
        "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/lib/libcurve25519.ko.xz\nkernel/lib/crc-itu-t.ko:\n"
    )
    assert modules.within(str(tmp_path)) == {"ext4", "wireguard", "crc_itu_t"}


def test_nothing_is_known_where_nothing_can_tell() -> None:
    assert modules.configured("") is None
    assert modules.judged("wireguard", None, frozenset(), None) is None
    assert modules.judged("xfs", None, frozenset(("xfs",)), None) is True


def test_what_this_kernel_mounts_it_has() -> None:
    names = [line.split()[-1] for line in read("/proc/filesystems").splitlines()]
    assert [name for name in names if not modules.has(name)] == []


@pytest.mark.skipif(not os.path.exists(modules.CONFIG), reason="this kernel shows no configuration")
def test_this_kernels_own_configuration_is_read() -> None:
    options = modules.configured(modules.config())
    assert options and options.get("PROC_FS") == "y"
    assert modules.has("proc-fs") is True
