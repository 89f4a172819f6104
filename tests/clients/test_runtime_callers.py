"""twinhull-oci under the engines that it is for: Debian's containerd with its shim, Podman with conmon."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.oci import TWINHULL_OCI

Done = subprocess.CompletedProcess[str]
Engine = Callable[..., Done]
NAME = "docker.io/library/twinhull-box:1"
LIMITS = ["--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512"]  # Podman's own may be above the machine's


def call(*words: str) -> Done:
    return subprocess.run(words, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def archive(busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of busybox as an OCI archive."""
    folder = tmp_path_factory.mktemp("archive")
    blobs = folder / "layout/blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer_tar:
        layer_tar.add(busybox_image / "bin", "bin")
    layer = blob("layer.v1.tar", packed.getvalue())
    root = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]}, "rootfs": root}
    described = blob("config.v1+json", json.dumps(config).encode())
    document = {"schemaVersion": 2, "config": described, "layers": [layer]}
    manifest = blob("manifest.v1+json", json.dumps(document).encode())
    manifest["annotations"] = {"org.opencontainers.image.ref.name": NAME}
    index = {"schemaVersion": 2, "manifests": [manifest]}
    (folder / "layout/index.json").write_text(json.dumps(index))
    (folder / "layout/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    with tarfile.open(folder / "image.tar", "w") as archive_tar:
        for path in (folder / "layout").iterdir():
            archive_tar.add(path, path.name)
    return folder / "image.tar"


@pytest.fixture(scope="module")
def ctr(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """ctr, speaking to a containerd of the tests' own."""
    if not shutil.which("containerd") or not shutil.which("ctr"):
        pytest.skip("containerd is not installed")
    folder = tmp_path_factory.mktemp("ctr")
    config = f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n[grpc]\n  address = "{folder}/sock"\n'
    (folder / "config.toml").write_text(config)

    def engine(*words: str) -> Done:
        return call("ctr", "--address", f"{folder}/sock", *words)

    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen(["containerd", "--config", folder / "config.toml"], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while engine("version").returncode and time.monotonic() < deadline:
                time.sleep(0.1)
            imported = engine("image", "import", str(archive))
            assert imported.returncode == 0, imported.stderr
            yield engine
        finally:
            daemon.terminate()
            daemon.wait()
            call("umount", "--recursive", str(folder))


@pytest.fixture(scope="module")
def podman(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Podman with a store of the tests' own."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("podman")
    places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
    manners = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", str(TWINHULL_OCI)]

    def engine(*words: str) -> Done:
        return call("podman", *places, *manners, *words)

    loaded = engine("load", "--input", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    return engine


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
