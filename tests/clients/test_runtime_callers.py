"""twinhull-oci under the engines that it is for: Debian's containerd with its shim, Podman with conmon."""

from __future__ import annotations

import time

from tests.support.callers import NAME, Done, Engine
from tests.support.oci import TWINHULL_OCI

LIMITS = ["--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512"]  # Podman's own may be above the machine's


def ctr_run(ctr: Engine, *words: str) -> Done:
    return ctr("run", "--runc-binary", str(TWINHULL_OCI), *words)


def test_containerd_runs_a_container_and_gets_its_status(ctr: Engine) -> None:
    done = ctr_run(ctr, "--rm", NAME, "once", "/bin/sh", "-c", "echo hello; exit 5")
    assert (done.returncode, done.stdout) == (5, "hello\n"), done.stderr


def test_containerd_executes_pauses_kills_and_removes(ctr: Engine) -> None:
    assert ctr_run(ctr, "--detach", NAME, "long", "/bin/sleep", "1000").returncode == 0
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


def test_containerd_says_what_was_not_found(ctr: Engine) -> None:
    done = ctr_run(ctr, "--rm", NAME, "none", "nonesuch")
    ctr("container", "rm", "none")
    assert done.returncode != 0 and "executable file not found in $PATH" in done.stderr


def test_podman_runs_a_container_and_gets_its_status(podman: Engine) -> None:
    done = podman("run", "--rm", "--network", "none", *LIMITS, NAME, "/bin/sh", "-c", "echo hello; exit 3")
    assert (done.returncode, done.stdout) == (3, "hello\n"), done.stderr


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
