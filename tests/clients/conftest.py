"""A containerd that has the runtime of either isolation as a handler of its CRI plugin, and a pod of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cri import Kubelet, containerd, running


@pytest.fixture(scope="module")
def installed() -> None:
    """What a pod needs."""
    if not shutil.which("containerd") or not Path("/usr/lib/cni/ptp").exists():
        pytest.skip("containerd or containernetworking-plugins is not installed")


@pytest.fixture(scope="module")
def kubelet(installed: None, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """Calls to a containerd that has the runtime as a handler."""
    with containerd(tmp_path_factory.mktemp("cri"), runtime) as made:
        yield made


@pytest.fixture
def pod(kubelet: Kubelet) -> Iterator[str]:
    """A pod of the runtime."""
    with running(kubelet, "box") as made:
        yield made
