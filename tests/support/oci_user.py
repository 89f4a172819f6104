"""twinhull-oci as a user without root calls it, on what `spec --rootless` writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci import PEERS, RUNTIMES, TWINHULL_OCI, Container
from tests.support.rootless import Rootless, in_usual_place

KINDS = ["twinhull-oci", "twinhull-oci without its front"]
HERE = [*KINDS, *(name for name in ("runc", "crun") if PEERS and shutil.which(name))]


class UserContainer(Container):
    """A container of a user's, in a bundle of his own."""

    def __init__(self, runtime: str, user: Rootless, scratch: Path, image: Path) -> None:
        self.user = user
        self.around: list[str] = []  # commands of root's, in the mount namespace that the runtime is called from
        self.command = ["crun"] if runtime == "crun" else RUNTIMES[runtime]
        self.runtime_directory = scratch / "xdg"
        super().__init__(runtime, scratch, image)
        self.runtime_directory.mkdir(mode=0o700)
        everything = [scratch, *scratch.rglob("*")]
        self.user.give(*(path for path in everything if not path.is_symlink()))
        self.as_user(str(TWINHULL_OCI), "spec", "--rootless", "--bundle", str(self.bundle))
        self.spec = json.loads((self.bundle / "config.json").read_text())
        self.spec["ociVersion"] = "1.0.2"  # Debian's crun takes no later one
        self.spec["process"]["terminal"] = False
        self.spec["root"]["readonly"] = False

    @property
    def before(self) -> list[str]:
        """What makes a command the user's. crun refuses the hybrid cgroup layout, and runs where no v2 is mounted."""
        hidden = ["umount /sys/fs/cgroup/unified 2>/dev/null || true"] if self.runtime == "crun" else []
        usual = in_usual_place(self.user.root, *hidden, *self.around)
        return [*usual, *self.user.command[len(usual) : -1]]

    @property
    def environment(self) -> dict[str, str]:
        """What the runtime finds in its environment."""
        return {**self.user.environment(), "XDG_RUNTIME_DIR": str(self.runtime_directory)}

    def as_user(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run any command as the user."""
        argv = [*self.before, *words]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=60, cwd=self.bundle)
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}\n{done.stderr}"
        return done

    def argv(self, *words: str) -> list[str]:
        """The command line, with the state where it is without --root."""
        setting = [f"XDG_RUNTIME_DIR={self.runtime_directory}"]
        general = ["--log", str(self.log), "--log-format", "json"]
        return [*self.before, "env", *setting, *self.command, *general, *words]

    def kept(self) -> list[str]:
        """The containers that there is anything of."""
        place = self.runtime_directory / "twinhull-oci"
        return sorted(os.listdir(place)) if place.exists() else []


@pytest.fixture(params=HERE)
def users(
    request: pytest.FixtureRequest, rootless: Rootless, tmp_path: Path, busybox_image: Path
) -> Iterator[UserContainer]:
    """A container of each runtime that is here."""
    scratch = tmp_path / "user"
    scratch.mkdir()
    made = UserContainer(request.param, rootless, scratch, busybox_image)
    yield made
    made.remove()


@pytest.fixture
def mine(rootless: Rootless, tmp_path: Path, busybox_image: Path) -> Iterator[UserContainer]:
    """A container of twinhull-oci."""
    scratch = tmp_path / "user"
    scratch.mkdir()
    made = UserContainer("twinhull-oci", rootless, scratch, busybox_image)
    yield made
    made.remove()
