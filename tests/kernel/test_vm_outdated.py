"""A template that does not fit any more is made again, never trusted: damaged, of another QEMU, of another kernel."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import REPOSITORY, Result, Twinhull
from twinhull.host import facts

pytestmark = pytest.mark.own_templates

RUN = ("run", "--rm", "--vm", "--network", "none", "busybox", "echo", "hi")
QEMU = "qemu-system-x86_64"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    """One state directory for the module, with kernels of its own: the distribution's, and one more."""
    twinhull = Twinhull(tmp_path_factory.mktemp("outdated"))
    twinhull("vm", "warm", timeout_s=120, check=True)
    kernels = twinhull.root / "state/kernels"
    kernels.unlink()
    (source,) = (REPOSITORY / "build/kernels").glob("[0-9]*")
    shutil.copytree(source, kernels / source.name)
    other = kernels / "6.1.0-1-other"
    shutil.copytree(source, other)
    with (other / "vmlinux").open("ab") as image:
        image.write(b"another")
    meta = json.loads((other / "kernel.json").read_text())
    (other / "kernel.json").write_text(json.dumps({**meta, "digest": "00" * 32}))
    return twinhull


@pytest.fixture
def vm(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    home("vm", "warm", timeout_s=120, check=True)
    yield home
    home.remove_all()


def key(vm: Twinhull) -> str:
    """The name of the one template."""
    (row,) = vm("vm", "template", "ls", "--format", "json", check=True).json()
    return str(row["key"])


def made_again(vm: Twinhull, **variables: str) -> bool:
    """Start once, and see whether a template was made for it."""
    done = vm(*RUN, timeout_s=120, variables=variables)
    assert (done.exit_code, done.stdout) == (0, "hi\n"), done.stderr
    assert "booting instead" not in done.stderr
    return "Preparing a template" in done.stderr


def test_one_whose_memory_was_cut_short(vm: Twinhull) -> None:
    before = key(vm)
    with (vm.root / "state/templates" / before / "memory").open("r+b") as file:
        file.truncate(1 << 20)
    assert made_again(vm)
    assert key(vm) == before


def test_one_of_a_qemu_that_was_upgraded(vm: Twinhull, tmp_path: Path) -> None:
    before = key(vm)
    installed = Path(shutil.which(QEMU) or "").resolve()
    prefix = tmp_path / "usr"
    (prefix / "bin").mkdir(parents=True)
    shutil.copyfile(installed, prefix / "bin" / QEMU)
    (prefix / "bin" / QEMU).chmod(0o755)
    for name in ("lib", "share"):
        (prefix / name).symlink_to(installed.parents[1] / name)
    path = f"{prefix / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    assert made_again(vm, PATH=path)
    assert key(vm) != before, "the earlier QEMU's is of no use to anybody"
    assert not made_again(vm, PATH=path)


def test_a_qemu_that_is_a_script_or_finds_no_firmware_is_refused_by_its_name(home: Twinhull, tmp_path: Path) -> None:
    directory = tmp_path / "first"
    directory.mkdir()
    variables = {"PATH": f"{directory}:{os.environ['PATH']}"}
    binary = directory / "qemu-system-x86_64"
    binary.write_text('#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 "$@"\n')
    binary.chmod(0o755)
    refused = home("run", "--rm", "--vm", "--network", "none", "busybox", "true", variables=variables)
    assert refused.exit_code == 125 and f"{binary} is a script" in refused.stderr, refused
    shutil.copy2(shutil.which("qemu-system-x86_64") or "", binary)
    refused = home("run", "--rm", "--vm", "--network", "none", "busybox", "true", variables=variables)
    assert refused.exit_code == 125 and f"{binary} finds no firmware" in refused.stderr, refused


def test_one_of_another_kernel(vm: Twinhull) -> None:
    before = key(vm)
    assert vm("vm", "kernel", "use", "6.1.0-1-o", check=True) == Result(0, "6.1.0-1-other\n", "")
    rows = vm("vm", "kernel", "ls", "--format", "json").json()["kernels"]
    used = {row["name"]: row["used"] for row in rows if row["architecture"] == facts.architecture()}
    assert used.pop("6.1.0-1-other") and not any(used.values())
    assert made_again(vm)
    assert key(vm) != before
    vm("vm", "kernel", "use", "distribution", check=True)


def test_a_kernel_that_is_not_there_cannot_be_chosen(home: Twinhull) -> None:
    done = home("vm", "kernel", "use", "nosuch")
    assert done.exit_code == 125 and "no kernel nosuch" in done.stderr and "vm kernel ls" in done.stderr
    done = home("vm", "kernel", "use", "6.1.0-")
    assert done.exit_code == 125 and "2 kernels begin with 6.1.0-" in done.stderr


def test_a_kernel_that_is_used_or_kept_by_a_snapshot_cannot_be_removed(vm: Twinhull) -> None:
    vm("vm", "kernel", "use", "6.1.0-1-other", check=True)
    try:
        refused = vm("vm", "kernel", "rm", "6.1.0-1-other")
        assert refused.exit_code == 1 and "vm kernel use distribution" in refused.stderr
        vm("run", "-d", "--name", "kept", "--vm", "busybox", "sleep", "1000", timeout_s=120, check=True)
        vm("snapshot", "kept", "one", check=True)
        vm("vm", "kernel", "use", "distribution", check=True)
        refused = vm("vm", "kernel", "rm", "6.1.0-1-other")
        assert refused.exit_code == 1 and "twinhull snapshot rm kept:one" in refused.stderr
        vm("snapshot", "rm", "kept:one", check=True)
    finally:
        vm("vm", "kernel", "use", "distribution")


def test_a_removed_kernel_is_gone_with_its_templates_and_its_guests_go_on(vm: Twinhull) -> None:
    ours = key(vm)
    gone = vm.root / "state/kernels/6.1.0-1-gone"
    shutil.copytree(vm.root / "state/kernels/6.1.0-1-other", gone)
    meta = json.loads((gone / "kernel.json").read_text())
    (gone / "kernel.json").write_text(json.dumps({**meta, "digest": "11" * 32}))
    vm("vm", "kernel", "use", gone.name, check=True)
    try:
        vm("run", "-d", "--name", "goes-on", "--vm", "busybox", "sleep", "1000", timeout_s=120, check=True)
        theirs = key(vm)
    finally:
        vm("vm", "kernel", "use", "distribution", check=True)
    assert theirs != ours
    assert vm("vm", "kernel", "rm", "6.1.0-1-g", check=True).stdout == "6.1.0-1-g\n"
    assert not [path for path in gone.parent.iterdir() if "gone" in path.name]
    assert vm("vm", "template", "ls", "-q", check=True).stdout == ""
    assert vm("exec", "goes-on", "echo", "on").stdout == "on\n"
    assert not [row for row in vm("vm", "kernel", "ls", "--format", "json").json()["kernels"] if "gone" in row["name"]]
    done = vm("vm", "kernel", "rm", gone.name)
    assert done.exit_code == 1 and "no kernel 6.1.0-1-gone" in done.stderr
