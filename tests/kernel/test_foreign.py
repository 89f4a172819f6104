"""Images for another processor: in a virtual machine that has it, or through an interpreter that is registered."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import foreign
from tests.support.command import Twinhull
from tests.support.vm import wait_until
from twinhull.compare import escapes, probe
from twinhull.compare.findings import Findings, ImageFacts, parse_probe
from twinhull.compare.load import measure_load
from twinhull.compare.session import QUICK, Session
from twinhull.config import Config

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# What the kernel compares the beginning of a program with: a 64-bit ELF file for Arm.
ELF, MASK = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00", r"\xff" * 7 + r"\x00" * 9 + r"\xfe\xff\xff\xff"
PROGRAM = """
uname -m; grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp 2>&1; cat /volume/file; echo written >/volume/new
trap 'exit 7' TERM; echo ready; while true; do sleep 0.1; done
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    return Twinhull(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all of them share, so that one template serves them."""
    path = tmp_path_factory.mktemp("volume")
    (path / "file").write_text("from the host\n")
    return path


@pytest.fixture
def arm(home: Twinhull, nothing_is_left_behind: None) -> Iterator[Twinhull]:
    foreign.require_guests()
    yield home
    home.remove_all()


def test_a_virtual_machine_has_the_processor_of_its_image(arm: Twinhull, arm64_image: str, volume: Path) -> None:
    words = ("run", "-d", "--vm", "--platform", "linux/arm64", "--name", "box", "-v", f"{volume}:/volume")
    warmed = arm("vm", "warm", "--shares", "--platform", "linux/arm64", "--format", "json", timeout_s=240, check=True)
    assert warmed.json()["architecture"] == "arm64"
    started = arm(*words, arm64_image, "sh", "-c", PROGRAM, timeout_s=120, check=True)
    assert not re.search("Preparing|instead", started.stderr)
    logs = logs_with(arm, "ready")
    said = logs.splitlines()
    assert said[:2] == ["aarch64", "Seccomp:\t2"], logs
    assert "denied" in said[2], logs
    assert said[3:] == ["from the host", "ready"], logs
    assert (volume / "new").read_text() == "written\n"
    inside = arm("exec", "box", "sh", "-c", "grep Seccomp: /proc/self/status; uname -m; date +%s; exit 5")
    assert inside.exit_code == 5
    mode, machine, now = inside.stdout.splitlines()
    assert (mode, machine) == ("Seccomp:\t2", "aarch64")
    assert abs(int(now) - time.time()) < 30
    (row,) = arm("ps", "--format", "json").json()
    assert row["isolation"] == "vm"
    layers = {layer["level"]: layer for layer in arm("stack", "box", "--format", "json", check=True).json()}
    assert "arm64" in layers["Guest OS"]["name"] and "arm64" in layers["Guest OS"]["details"][0], layers
    assert "the guest's processor is arm64" in layers["Hypervisor"]["details"]
    arm("stop", "-t", "20", "box", check=True)
    assert arm("wait", "box").stdout.strip() == "7"
    (listed,) = arm("images", "--format", "json").json()
    assert listed["platform"] == "linux/arm64"


def test_a_comparison_looks_into_a_guest_with_the_images_processor(
    arm: Twinhull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINHULL_ROOT", str(arm.root))
    config = Config(state=str(arm.root / "state"), run=str(arm.root / "run"))
    with probe.loaded(config, "linux/arm64") as image:
        seen = parse_probe(arm("run", "--rm", "--vm", image, timeout_s=240, check=True).stdout)
    assert seen["release"].endswith("arm64"), seen
    assert int(seen["syscalls-answered"]) <= int(seen["syscalls-tried"])
    facts = ImageFacts("box", platform="linux/arm64")
    session = Session([], Findings(facts), QUICK, print, config)
    escapes.try_escapes(session)
    measure_load(session)
    assert set(session.findings.gaps) == {"vm.probes", "container.probes", "load"}


def logs_with(arm: Twinhull, word: str) -> str:
    """Return what the workload has written once a word is in it."""
    deadline = time.monotonic() + 60
    while word not in (logs := arm("logs", "box").stdout) and time.monotonic() < deadline:
        time.sleep(0.1)
    return logs


def test_it_starts_from_a_template_and_cold(arm: Twinhull, arm64_image: str, volume: Path, tmp_path: Path) -> None:
    words = ("run", "--rm", "--vm", "--network", "none", "--platform", "arm64", "-v", f"{volume}:/volume", arm64_image)
    arm("vm", "warm", "--shares", "--platform", "linux/arm64", timeout_s=240, check=True)
    script = ("sh", "-c", "cat /proc/sys/kernel/random/uuid; exit 3")
    first, second = (arm(*words, *script, timeout_s=120) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (3, 3), first.stderr + second.stderr
    assert not re.search("Preparing|instead", first.stderr + second.stderr)
    assert first.stdout != second.stdout
    config = tmp_path / "cold.toml"
    config.write_text("vm_template = false\nvm_spare = false\n")
    cold = arm(*words, "uname", "-m", timeout_s=120, variables={"TWINHULL_CONFIG": str(config)})
    assert cold.stdout == "aarch64\n", cold.stderr


def test_what_nothing_here_runs_is_refused_with_a_package(twinhull: Twinhull, arm64_image: str) -> None:
    interpreted = Path(BINFMT, "qemu-aarch64").exists()
    for isolation, platform in (("vm", "linux/riscv64"), ("container", "linux/riscv64"), ("container", "linux/arm64")):
        if interpreted and platform == "linux/arm64":
            continue
        done = twinhull("run", "--rm", "--isolation", isolation, "--platform", platform, arm64_image, "true")
        assert done.exit_code == 125
        assert re.search(rf" for {platform[6:]}(:.*)?\n +hint: .*apt-get install qemu-user", done.stderr)
    assert twinhull("images", "--format", "json").json() == [], "nothing was fetched"


@contextlib.contextmanager
def registered(interpreter: str) -> Iterator[None]:
    """Have the kernel run programs for 64-bit Arm by an interpreter, as qemu-user-static does."""
    if not os.path.ismount(BINFMT):
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True)
        mounted = True
    else:
        mounted = False
    try:
        (BINFMT / "register").write_text(f":qemu-aarch64:M::{ELF}:{MASK}:{interpreter}:F")
        try:
            yield
        finally:
            (BINFMT / "qemu-aarch64").write_text("-1")
    finally:
        if mounted:
            subprocess.run(["umount", BINFMT], check=True)


def test_a_container_runs_through_an_interpreter_that_is_registered(twinhull: Twinhull, arm64_image: str) -> None:
    if "binfmt_misc" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no binfmt_misc")
    if (BINFMT / "qemu-aarch64").exists():
        pytest.skip("an interpreter is registered here already")
    # Busybox takes the program's path for its own applet's name: what an emulator would do, for a program that it has.
    with registered("/bin/busybox"):
        done = twinhull("run", "--rm", "--platform", "linux/arm64", arm64_image, "echo", "interpreted")
        assert (done.exit_code, done.stdout) == (0, "interpreted\n"), done.stderr
        advice = twinhull("advise", "--platform", "linux/arm64", "--format", "json", arm64_image)
        assert advice.exit_code == 0


def test_a_guest_with_another_processor_is_copied_while_it_runs(arm: Twinhull, arm64_image: str) -> None:
    counts = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done"
    words = ("run", "-d", "--vm", "--platform", "linux/arm64", "--name", "counts", arm64_image, "sh", "-c", counts)
    arm(*words, timeout_s=240, check=True)
    wait_until(lambda: len(arm("logs", "counts").stdout.split()) > 3, "the first numbers")
    before = int(arm("logs", "--tail", "1", "counts").stdout)
    copy = arm("fork", "counts", timeout_s=120, check=True).stdout.strip()
    wait_until(lambda: bool(arm("logs", copy).stdout), "the copy's first number")
    assert int(arm("logs", copy).stdout.split()[0]) > before
    assert arm("exec", copy, "uname", "-m", check=True).stdout == "aarch64\n"
