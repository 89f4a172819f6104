"""twinhull-oci-vm under the engines that it is for: Debian's containerd with its shim, Podman with conmon."""

from __future__ import annotations

import os
import time

from tests.support.callers import NAME, Done, Engine
from tests.support.oci import TWINHULL_OCI_VM

LIMITS = ["--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512"]  # Podman's own may be above the machine's


def ctr_run(ctr: Engine, *words: str) -> Done:
    return ctr("run", "--runc-binary", str(TWINHULL_OCI_VM), *words)


def test_containerd_runs_a_machine_and_gets_its_status(ctr_of_guests: Engine) -> None:
    done = ctr_run(ctr_of_guests, "--rm", NAME, "once", "/bin/sh", "-c", "uname -r; exit 5")
    assert done.returncode == 5, done.stderr
    assert done.stdout.strip() not in ("", os.uname().release)


def test_containerd_executes_pauses_kills_and_removes(ctr_of_guests: Engine) -> None:
    ctr = ctr_of_guests
    started = ctr_run(ctr, "--detach", NAME, "long", "/bin/sleep", "1000")
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


def test_containerd_says_what_was_not_found(ctr_of_guests: Engine) -> None:
    done = ctr_run(ctr_of_guests, "--rm", NAME, "none", "nonesuch")
    ctr_of_guests("container", "rm", "none")
    assert done.returncode != 0
    assert "executable file not found in $PATH" in done.stderr


def test_podman_runs_a_machine_and_gets_its_status(podman_of_guests: Engine) -> None:
    script = "uname -r; hostname; grep -c nameserver /etc/resolv.conf; exit 3"
    done = podman_of_guests(
        "run", "--rm", "--network", "none", "--hostname", "box", *LIMITS, NAME, "/bin/sh", "-c", script
    )
    assert done.returncode == 3, done.stderr
    kernel, name, *_ = done.stdout.split("\n")
    assert kernel not in ("", os.uname().release)
    assert name == "box"


def test_podman_knows_a_program_that_is_not_there(podman_of_guests: Engine) -> None:
    assert podman_of_guests("run", "--rm", "--network", "none", *LIMITS, NAME, "nonesuch").returncode == 127


def test_podman_executes_pauses_and_removes(podman_of_guests: Engine) -> None:
    podman = podman_of_guests
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
    finally:
        assert podman("rm", "--force", "--time", "0", "long").returncode == 0
