"""What a build of a guest's kernel runs, and what it says when something is missing."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from twinhull.config import Config
from twinhull.engine import kernels
from twinhull.errors import HostUnfit
from twinhull.host import locks
from twinhull.runtime import kernel_build
from twinhull.runtime.kernel_build import Sandbox, Source


def test_the_sources_programs_run_without_root_network_or_a_life_of_their_own() -> None:
    words = Sandbox("/state/kernels/.build", 100_123, 9).argv(("make", "vmlinux"))
    assert words[:3] == ["setpriv", "--pdeathsig=KILL", "unshare"]
    for word in (
        "--net",
        "--pid",
        "--kill-child",
        "--mount",
        "--reuid=100123",
        "--no-new-privs",
        "--bounding-set=-all",
    ):
        assert word in words
    assert words[words.index("env") :][:2] == ["env", "-i"]
    assert words[-2:] == ["make", "vmlinux"]


def test_another_source_or_another_configuration_is_another_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, other = Source("linux-source-6.1", "6.1.176-1"), Source("linux-source-6.1", "6.1.177-1")
    assert one.kernel.startswith("built-6.1.176-1-") and one.kernel != other.kernel
    before = one.kernel
    changed = tmp_path / "guest.config"
    changed.write_text("CONFIG_NET=y\n")
    monkeypatch.setattr(kernel_build, "FRAGMENT", str(changed))
    assert one.kernel != before


def test_missing_tools_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_build, "TOOLS", {"sh": "dash", "no-such-tool": "flex", "/no/such.h": "libelf-dev"})
    with pytest.raises(HostUnfit) as caught:
        kernel_build.require_tools()
    assert caught.value.message == "building a kernel needs flex, libelf-dev"
    assert caught.value.hint == "apt-get install --no-install-recommends flex libelf-dev"


def test_too_little_space_is_said_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernel_build, "SPACE_BYTES", shutil.disk_usage(tmp_path).total + (1 << 40))
    with pytest.raises(HostUnfit, match="MiB are free"):
        kernel_build.require_space(str(tmp_path))


def test_a_link_in_the_place_of_the_kernel_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        kernel_build.read_image(str(tmp_path / "vmlinux"))


def test_a_build_is_seen_while_it_runs_and_after_it_failed(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path))
    assert kernels.current_build(config) is None
    root = tmp_path / "kernels"
    root.mkdir()
    kernels.record(config, "compiling: 7 of about 1400 files", time.time())
    with locks.locked(str(root / kernels.LOCK)):
        build = kernels.current_build(config)
        assert build and build.running and build.step == "compiling: 7 of about 1400 files"
    build = kernels.current_build(config)
    assert build and not build.running and build.step.startswith("ended while compiling"), "its process is gone"
    kernels.record(config, "make failed", time.time(), failed=True)
    build = kernels.current_build(config)
    assert build and (build.running, build.step, build.log) == (False, "make failed", str(root / "build.log"))
    json.dumps(build._asdict())


def test_what_a_killed_build_left_is_deleted_where_nobody_builds(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path))
    left = tmp_path / "kernels/.build/source"
    left.mkdir(parents=True)
    with locks.locked(str(tmp_path / "kernels" / kernels.LOCK)):
        kernels.clear_left(config)
        assert left.exists()
    kernels.clear_left(config)
    assert not left.parent.exists()
