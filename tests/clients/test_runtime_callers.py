"""The runtime of either isolation under the engines that it is for: containerd with its shim, Podman with conmon."""

from __future__ import annotations

import os
import time
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, socket

import pytest

from tests.support.callers import NAME, Done, Engine
from tests.support.notify import compile_notifier
from tests.support.oci import TWINHULL_OCI_VM

LIMITS = ["--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512"]  # Podman's own may be above the machine's


def ctr_run(ctr: Engine, runtime: Path, *words: str) -> Done:
    return ctr("run", "--runc-binary", str(runtime), *words)


def check_kernel(runtime: Path, release: str) -> None:
    """The kernel inside is the host's, or one of its own."""
    assert release and (release == os.uname().release) == (runtime != TWINHULL_OCI_VM)


def test_containerd_runs_a_container_and_gets_its_status(ctr: Engine, runtime: Path) -> None:
    done = ctr_run(ctr, runtime, "--rm", NAME, "once", "/bin/sh", "-c", "uname -r; exit 5")
    assert done.returncode == 5, done.stderr
    check_kernel(runtime, done.stdout.strip())


def test_containerd_executes_pauses_kills_and_removes(ctr: Engine, runtime: Path) -> None:
    started = ctr_run(ctr, runtime, "--detach", NAME, "long", "/bin/sleep", "1000")
    assert started.returncode == 0, started.stderr
    done = ctr("task", "exec", "--exec-id", "e", "long", "/bin/sh", "-c", "echo in; exit 4")
    assert (done.returncode, done.stdout) == (4, "in\n"), done.stderr
    assert ctr("task", "pause", "long").returncode == 0
    assert "PAUSED" in ctr("task", "ls").stdout
    assert ctr("task", "resume", "long").returncode == 0
    assert "memory.usage_in_bytes" in ctr("task", "metrics", "long").stdout
    assert ctr("task", "kill", "--signal", "KILL", "long").returncode == 0
    deadline = time.monotonic() + 10
    while "STOPPED" not in ctr("task", "ls").stdout:
        assert time.monotonic() < deadline
    ctr("task", "rm", "long")
    assert ctr("container", "rm", "long").returncode == 0


def test_containerd_says_what_was_not_found(ctr: Engine, runtime: Path) -> None:
    done = ctr_run(ctr, runtime, "--rm", NAME, "none", "nonesuch")
    ctr("container", "rm", "none")
    assert done.returncode != 0 and "executable file not found in $PATH" in done.stderr


def test_podman_runs_a_container_and_gets_its_status(podman: Engine, runtime: Path) -> None:
    words = ("run", "--rm", "--network", "none", "--hostname", "box", *LIMITS, NAME)
    done = podman(*words, "/bin/sh", "-c", "uname -r; hostname; exit 3")
    assert done.returncode == 3, done.stderr
    kernel, name, *_ = done.stdout.split("\n")
    check_kernel(runtime, kernel)
    assert name == "box"


def test_podman_knows_a_program_that_is_not_there(podman: Engine) -> None:
    assert podman("run", "--rm", "--network", "none", *LIMITS, NAME, "nonesuch").returncode == 127


def test_podman_executes_pauses_updates_and_removes(podman: Engine) -> None:
    started = podman("run", "--detach", "--name", "long", "--network", "none", *LIMITS, NAME, "/bin/sleep", "1000")
    assert started.returncode == 0, started.stderr
    try:
        done = podman("exec", "long", "/bin/sh", "-c", "echo in; exit 6")
        assert (done.returncode, done.stdout) == (6, "in\n"), done.stderr
        assert podman("exec", "long", "nonesuch").returncode == 127
        assert "/dev/pts/0" in podman("exec", "--tty", "long", "tty").stdout
        assert podman("pause", "long").returncode == 0
        assert "Paused" in podman("ps", "--all", "--format", "{{.Status}}").stdout
        assert podman("unpause", "long").returncode == 0
        assert podman("update", "--memory", "64m", "long").returncode == 0
    finally:
        assert podman("rm", "--force", "--time", "0", "long").returncode == 0


def test_podman_keeps_the_callers_groups(podman: Engine, runtime: Path) -> None:
    if runtime == TWINHULL_OCI_VM:
        pytest.skip("the groups of the host are nobody's in a guest")
    before = os.getgroups()
    words = ("run", "--rm", "--network", "none", *LIMITS)
    try:
        os.setgroups([7, 8])
        kept = podman(*words, "--group-add", "keep-groups", NAME, "/bin/grep", "Groups", "/proc/self/status")
        dropped = podman(*words, NAME, "/bin/grep", "Groups", "/proc/self/status")
    finally:
        os.setgroups(before)
    assert kept.stdout.split() == ["Groups:", "7", "8"], kept.stderr
    assert not {"7", "8"} & set(dropped.stdout.split()), dropped.stderr


def test_podman_passes_on_that_a_container_is_ready(
    podman: Engine, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime == TWINHULL_OCI_VM:
        pytest.skip("the sockets of the host are none of a guest's")
    compile_notifier(tmp_path / "notify")
    with socket(AF_UNIX, SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
        words = ("run", "--detach", "--name", "ready", "--network", "none", "--sdnotify", "container", *LIMITS)
        started = podman(*words, "--volume", f"{tmp_path}/notify:/notify:ro", NAME, "/notify", "READY=1")
        try:
            assert started.returncode == 0, started.stderr
            conmon = podman("inspect", "--format", "{{.State.ConmonPid}}", "ready").stdout.strip()
            assert [manager.recv(4096).strip() for _ in range(2)] == [f"MAINPID={conmon}".encode(), b"READY=1"]
        finally:
            podman("rm", "--force", "--time", "0", "ready")
