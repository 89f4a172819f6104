"""twinhull-oci under dockerd, registered with --add-runtime: a daemon of the tests' own, without networks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.oci import TWINHULL_OCI, TWINHULL_OCI_VM
from twinhull.config import Config

Done = subprocess.CompletedProcess[str]
Docker = Callable[..., Done]
PATIENCE_S = 60.0
RUN = ("run", "--runtime", "twinhull", "--network", "none")


@pytest.fixture(scope="module")
def docker(busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """The client of a daemon that has our runtime and the image `box`."""
    yield from dockerd(TWINHULL_OCI, busybox_image, tmp_path_factory)


@pytest.fixture(scope="module")
def docker_of_guests(guests: Config, busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """The same with twinhull-oci-vm."""
    yield from dockerd(TWINHULL_OCI_VM, busybox_image, tmp_path_factory)


def dockerd(runtime: Path, busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """Give a client while its daemon runs."""
    if not shutil.which("dockerd") or not shutil.which("docker"):
        pytest.skip("docker is not installed")
    folder = tmp_path_factory.mktemp("docker")
    places = f"--data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}/pid --host unix://{folder}/sock"
    script = f"exec dockerd {places} --bridge none --iptables=false --add-runtime twinhull={runtime}"

    def call(*words: str, stdin: bytes | None = None) -> Done:
        argv = ["docker", "--host", f"unix://{folder}/sock", *words]
        done = subprocess.run(argv, input=stdin or b"", capture_output=True, timeout=90)
        return subprocess.CompletedProcess(argv, done.returncode, done.stdout.decode(), done.stderr.decode())

    with (folder / "log").open("w") as log:
        apart = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script]
        daemon = subprocess.Popen(apart, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while call("version").returncode:
                assert time.monotonic() < deadline and daemon.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            packed = subprocess.run(["tar", "-C", str(busybox_image), "-c", "."], capture_output=True, check=True)
            assert call("import", "-", "box", stdin=packed.stdout).returncode == 0
            yield call
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=PATIENCE_S)
            remove_groups()


def remove_groups() -> None:
    """Remove the empty groups that dockerd leaves at the top of each hierarchy."""
    for path in sorted(Path("/sys/fs/cgroup").glob("**/docker"), reverse=True):
        try:
            path.rmdir()
        except OSError:
            pass


def test_dockerd_runs_a_container_and_gets_its_status(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "box", "/bin/sh", "-c", "echo hello; exit 5")
    assert (done.returncode, done.stdout) == (5, "hello\n"), done.stderr


def test_dockerd_knows_a_program_that_is_not_there(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "box", "nonesuch")
    assert done.returncode == 127 and "executable file not found in $PATH" in done.stderr


def test_dockerd_executes_pauses_updates_stops_and_removes(docker: Docker) -> None:
    started = docker(*RUN, "--detach", "--name", "long", "box", "/bin/sleep", "1000")
    assert started.returncode == 0, started.stderr
    try:
        done = docker("exec", "long", "/bin/sh", "-c", "echo in; exit 4")
        assert (done.returncode, done.stdout) == (4, "in\n"), done.stderr
        assert docker("pause", "long").returncode == 0
        assert docker("inspect", "--format", "{{.State.Status}}", "long").stdout == "paused\n"
        assert docker("unpause", "long").returncode == 0
        updated = docker("update", "--memory", "64m", "--memory-swap", "-1", "long")
        assert updated.returncode == 0, updated.stderr
        assert docker("stop", "--time", "0", "long").returncode == 0
        assert docker("inspect", "--format", "{{.State.ExitCode}}", "long").stdout == "137\n"
        assert docker("start", "long").returncode == 0
    finally:
        assert docker("rm", "--force", "long").returncode == 0


def test_dockerd_runs_a_machine_and_gets_its_status(docker_of_guests: Docker) -> None:
    done = docker_of_guests(*RUN, "--rm", "box", "/bin/sh", "-c", "uname -r; exit 5")
    assert done.returncode == 5, done.stderr
    assert done.stdout.strip() not in ("", os.uname().release)
    done = docker_of_guests(*RUN, "--rm", "box", "nonesuch")
    assert done.returncode == 127


def test_dockerd_executes_in_a_machine_pauses_updates_and_removes_it(docker_of_guests: Docker) -> None:
    docker = docker_of_guests
    started = docker(*RUN, "--detach", "--memory", "64m", "--name", "long", "box", "/bin/sleep", "1000")
    assert started.returncode == 0, started.stderr
    try:
        done = docker("exec", "long", "/bin/sh", "-c", "echo in; exit 4")
        assert (done.returncode, done.stdout) == (4, "in\n"), done.stderr
        assert docker("pause", "long").returncode == 0
        assert docker("unpause", "long").returncode == 0
        done = docker("update", "--memory", "48m", "--memory-swap", "48m", "long")
        assert done.returncode == 0, done.stderr
    finally:
        assert docker("rm", "--force", "long").returncode == 0


def test_a_machine_has_the_network_that_dockerd_connects(docker_of_guests: Docker) -> None:
    docker = docker_of_guests
    made = docker("network", "create", "--subnet", "10.213.81.0/24", "thguests")
    assert made.returncode == 0, made.stderr
    try:
        script = "ip address show eth0; ping -c 1 -W 5 10.213.81.1 && cat /etc/hosts"
        run = ("run", "--rm", "--runtime", "twinhull", "--network", "thguests", "--hostname", "box")
        done = docker(*run, "box", "/bin/sh", "-c", script)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "10.213.81.2/24" in done.stdout
        assert "10.213.81.2\tbox" in done.stdout
    finally:
        docker("network", "rm", "thguests")
