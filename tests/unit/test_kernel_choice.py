"""Which of the kernels that are here guests are booted with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from twinhull.config import Config
from twinhull.engine import kernels
from twinhull.engine.state import open_home
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import facts
from twinhull.runtime import hypervisor, kernel

META = {"release": "6.1.0", "origin": "test", "modules": [], "features": ["network"], "digest": "00"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two kernels of the distribution, one that was built here."""
    for name in ("6.1.0-9-amd64", "6.1.0-10-amd64", "built-6.1.176-1-aa", "configured-bb"):
        directory = tmp_path / "kernels" / name
        directory.mkdir(parents=True)
        (directory / "kernel.json").write_text(json.dumps(META))
    return Config(state=str(tmp_path))


def used(config: Config) -> str:
    found = kernel.present(config)
    return Path(found.directory).name if found else ""


def test_without_a_choice_it_is_the_distributions_newest(config: Config) -> None:
    assert used(config) == "6.1.0-10-amd64"


def test_the_chosen_one_is_used_until_another_is_chosen(config: Config) -> None:
    root = f"{config.state}/kernels"
    kernel.choose(root, "built-6.1.176-1-aa")
    assert used(config) == "built-6.1.176-1-aa"
    kernel.choose(root, "6.1.0-9-amd64")
    assert used(config) == "6.1.0-9-amd64"
    kernel.choose(root, "")
    assert used(config) == "6.1.0-10-amd64"


def test_a_chosen_one_that_is_gone_is_followed_by_the_distributions(config: Config) -> None:
    kernel.choose(f"{config.state}/kernels", "built-6.1.170-1-cc")
    assert used(config) == "6.1.0-10-amd64"


def test_the_configuration_has_the_last_word(config: Config, tmp_path: Path) -> None:
    kernel.choose(f"{config.state}/kernels", "built-6.1.176-1-aa")
    image = tmp_path / "vmlinux"
    image.write_bytes(b"")
    named = config._replace(vm_kernel=str(image))
    assert used(named) == "", "it is not prepared yet"
    (tmp_path / "kernels" / kernel.configured_name(str(image))).mkdir()
    (tmp_path / "kernels" / kernel.configured_name(str(image)) / "kernel.json").write_text(json.dumps(META))
    assert used(named).startswith("configured-")


def test_only_a_kernel_that_says_so_boots_without_acpi(config: Config) -> None:
    found = kernel.present(config)
    assert found and kernel.has_acpi(found)
    assert not kernel.has_acpi(found._replace(features=("network", kernel.WITHOUT_ACPI)))


def test_a_directory_that_is_named_as_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostUnfit, match=f"vm_kernel {tmp_path} is a directory"):
        kernel.configured_name(str(tmp_path))


def test_what_a_guest_runs_is_found_by_its_release_and_processor(config: Config, tmp_path: Path) -> None:
    other = tmp_path / "kernels/6.1.0-8-amd64/kernel.json"
    arm = tmp_path / "kernels-arm64/6.1.0-10-arm64/kernel.json"
    for path, release in ((other, "6.1.0-8-amd64"), (arm, "6.1.0-10-arm64")):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**META, "release": release}))
    found = {words: kernel.kept(config, *words) for words in (("", None), ("6.1.0-8-amd64", None), ("6.0", None))}
    names = [Path(one.directory).name if one else "" for one in found.values()]
    assert names == ["6.1.0-10-amd64", "6.1.0-8-amd64", ""]
    assert [bool(kernel.kept(config, name, "arm64")) for name in ("", "6.1.0-10-arm64", "6.1.0")] == [True, True, False]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_kernels_for_another_processor_are_listed_and_removed_but_not_chosen(config: Config, tmp_path: Path) -> None:
    other = next(name for name in hypervisor.EMULATORS if name != facts.architecture())
    directory = tmp_path / f"kernels-{other}" / "6.1.0-10-other"
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps(META))
    left = tmp_path / "kernels/.build"
    left.mkdir()
    assert [row.architecture for row in kernels.everything(config)] == [facts.architecture()] * 4 + [other]
    assert [row.name for row in kernels.everything(config) if row.used] == ["6.1.0-10-amd64", "6.1.0-10-other"]
    home = open_home(config._replace(run=str(tmp_path / "run")))
    try:
        with pytest.raises(InvalidRequest, match=f"for guests of {other}"):
            kernels.use(home, "6.1.0-10-other")
        kernels.remove(home, "6.1.0-10-o")
    finally:
        home.closed()
    assert not directory.exists() and not left.exists()
