"""Kernel configurations: the fragment of guests, and what a final configuration lacks of it."""

from __future__ import annotations

from pathlib import Path

from twinhull.plan import kconfig

FRAGMENT = Path(__file__).parents[2] / "src/twinhull/runtime/guest.config"


def test_an_option_is_set_or_is_not() -> None:
    text = 'CONFIG_NET=y\n# CONFIG_WLAN is not set\nCONFIG_LSM="landlock,yama"\n\n# a comment\n'
    assert kconfig.options(text) == {"NET": "y", "WLAN": "n", "LSM": '"landlock,yama"'}


def test_what_the_final_configuration_lacks_is_named() -> None:
    fragment = "CONFIG_NET=y\nCONFIG_NR_CPUS=256\nCONFIG_INET=y\n# CONFIG_WLAN is not set\n# CONFIG_USB is not set\n"
    final = "CONFIG_NET=y\nCONFIG_NR_CPUS=64\n# CONFIG_INET is not set\nCONFIG_WLAN=y\n"
    assert kconfig.missing(fragment, final) == ["NR_CPUS", "INET", "WLAN"]
    assert kconfig.missing(fragment, fragment) == []


def test_an_option_that_nobody_names_is_not_set() -> None:
    assert kconfig.missing("# CONFIG_GONE is not set\n", "") == []
    assert kconfig.missing("CONFIG_GONE=y\n", "") == ["GONE"]


def test_the_guests_configuration_builds_everything_in() -> None:
    options = kconfig.options(FRAGMENT.read_text())
    assert "m" not in options.values() and "MODULES" not in options
    needed = {"PVH", "VIRTIO_MMIO_CMDLINE_DEVICES", "EROFS_FS", "OVERLAY_FS", "EXT4_FS", "9P_FS", "NF_TABLES", "MEMCG"}
    assert needed <= options.keys()
    names = [
        line.split("=")[0].split()[-1 if "=" in line else 1]
        for line in FRAGMENT.read_text().splitlines()
        if "CONFIG_" in line
    ]
    assert len(names) == len(set(names)), "an option stands there twice"
