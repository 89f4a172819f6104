"""Debian's containerd with its shim, and Podman with conmon: engines of the tests' own, and an image for them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.oci import TWINHULL_OCI, TWINHULL_OCI_VM

Done = subprocess.CompletedProcess[str]
Engine = Callable[..., Done]
NAME = "docker.io/library/twinhull-box:1"


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


@pytest.fixture(scope="module", params=[TWINHULL_OCI, TWINHULL_OCI_VM], ids=lambda path: str(path.name))
def runtime(request: pytest.FixtureRequest) -> Path:
    """The runtime of either isolation; that of machines finds its templates."""
    if request.param == TWINHULL_OCI_VM:
        request.getfixturevalue("guests")
    return Path(request.param)


@pytest.fixture(scope="module")
def ctr(runtime: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """ctr, speaking to a containerd of the tests' own, which passes its environment on to the runtime."""
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
def podman(runtime: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Podman with a store of the tests' own; it passes no environment on."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("podman")
    told = [f"{name}={os.environ[name]}" for name in ("TWINHULL_ROOT", "TWINHULL_CONFIG") if name in os.environ]
    script = folder / runtime.name
    script.write_text(f'#!/bin/sh\n{" ".join(told)} exec {runtime} "$@"\n')
    script.chmod(0o755)
    places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
    manners = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", str(script)]

    def engine(*words: str) -> Done:
        return call("podman", *places, *manners, *words)

    loaded = engine("load", "--input", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    return engine
