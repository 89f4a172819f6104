"""twinhull-oci under dockerd, registered with --add-runtime: a daemon of the tests' own, without networks."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.oci import TWINHULL_OCI

Done = subprocess.CompletedProcess[str]
Docker = Callable[..., Done]
PATIENCE_S = 60.0
RUN = ("run", "--runtime", "twinhull", "--network", "none")


@pytest.fixture(scope="module")
def docker(busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """The client of a daemon that has our runtime and the image `box`."""
    if not shutil.which("dockerd") or not shutil.which("docker"):
        pytest.skip("docker is not installed")
    folder = tmp_path_factory.mktemp("docker")
    places = f"--data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}/pid --host unix://{folder}/sock"
    script = f"exec dockerd {places} --bridge none --iptables=false --add-runtime twinhull={TWINHULL_OCI}"

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
