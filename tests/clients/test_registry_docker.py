"""Images that a local Docker has: a real daemon of the test's own, without network."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.registry import Registry
from tests.support.store import Recorder, Store
from twinhull.errors import NotFound
from twinhull.oci.reference import parse
from twinhull.store import archive, embedded, engines, images
from twinhull.store import registry as registries

START_TIMEOUT_S = 30.0
NAME = "only-in-docker/tool:3"


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The socket of a daemon, which our code takes for the machine's."""
    if not shutil.which("dockerd"):
        pytest.skip("docker.io is not installed")
    # Its containerd listens below this directory: a test's own path would be longer than a socket's name may be.
    with tempfile.TemporaryDirectory(prefix="docker-") as name:
        place = Path(name)
        socket = place / "socket"
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "dockerd"]
        words += ["--host", f"unix://{socket}", "--data-root", f"{place}/data", "--exec-root", f"{place}/exec"]
        words += ["--pidfile", f"{place}/pid", "--bridge=none", "--iptables=false"]
        with (place / "log").open("wb") as log:
            daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                wait_for_docker(socket, place / "log")
                monkeypatch.setattr(engines, "DOCKER_SOCKET", str(socket))
                yield f"unix://{socket}"
            finally:
                daemon.kill()
                daemon.wait(30)
                time.sleep(0.5)  # what was in its pid namespace ends with it


def wait_for_docker(socket: Path, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    words = ["docker", "--host", f"unix://{socket}", "info"]
    while subprocess.run(words, capture_output=True).returncode != 0:
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)


def test_a_short_name_is_taken_from_docker_before_any_registry(
    store: Store, docker: str, tmp_path: Path, registry: Registry
) -> None:
    made = embedded.ensure(store.config, store.db)
    archive.save(store.config, store.db, "twinhull/busybox", str(tmp_path / "saved.tar"))
    for words in (["load", "-i", str(tmp_path / "saved.tar")], ["tag", "twinhull/busybox:latest", NAME]):
        subprocess.run(["docker", "--host", docker, *words], check=True, capture_output=True)
    recorder = Recorder()
    image = registries.obtain(store.config, store.db, NAME, progress=recorder)
    assert recorder.notices == [f"{NAME}: taken from Docker on this machine"]
    assert image.config_digest == made.config_digest, "Docker's image id"
    assert images.find(store.db, NAME) == image
    assert list(engines.holding(parse("only-in-docker/tool:4"))) == []
    with pytest.raises(NotFound):
        registries.pull(store.config, store.db, "docker-daemon:only-in-docker/tool:4")
    target = f"{registry.address}/from-docker"
    registries.push(store.config, store.db, NAME, target)
    assert registries.pull(store.config, store.db, target).config_digest == made.config_digest
    assert store.leftovers() == []
