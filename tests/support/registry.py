"""A real registry on loopback: Debian's docker-registry with a directory and a port of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.answers import free_port

CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""
START_TIMEOUT_S = 20.0


class Registry:
    """A running registry. `address` is HOST:PORT, `storage` where its files lie."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, storage: Path) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"
        self.port = port
        self.storage = storage

    def blob(self, digest: str) -> Path:
        """The file of a blob, for tests that damage it."""
        value = digest.removeprefix("sha256:")
        return self.storage / f"docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data"

    def put(self, layout: Path, tag: str, name: str, *options: str) -> str:
        """Copy an image of an OCI layout to the registry and return its full name there."""
        target = f"{self.address}/{name}"
        source = f"oci:{layout}:{tag}"
        words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", *options, source, f"docker://{target}"]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        return target


@contextmanager
def running_registry(directory: Path) -> Iterator[Registry]:
    """Start a registry below an existing directory; it ends with the block."""
    port, storage = free_port(), directory / "storage"
    storage.mkdir(exist_ok=True)
    config = directory / f"config-{port}.yml"
    config.write_text(CONFIG.format(storage=storage, port=port))
    log = (directory / "registry.log").open("ab")
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        wait_for_port(port, process)
        yield Registry(process, port, storage)
    finally:
        process.kill()
        process.wait()
        log.close()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the registry accepts connections."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "docker-registry ended at once: see registry.log beside its storage"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("docker-registry does not listen")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for the whole run; tests use repositories of their own."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running
