"""A user without root, and the command as he runs it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import COMMAND, REPOSITORY, Twinhull
from twinhull.config import Config
from twinhull.host import files, locks
from twinhull.runtime import holder

TOOLS = ("useradd", "userdel", "setpriv", "newuidmap", "newgidmap", "slirp4netns")
SEARCHABLE = 0o111


class Rootless(Twinhull):
    """The command of a user; his state is below `root`, and `home` is his."""

    def __init__(self, root: Path, user: str, settings: dict[str, Any] | None = None) -> None:
        super().__init__(root, settings)
        self.account = pwd.getpwnam(user)
        self.home = root / "home"
        self.home.mkdir()
        identity = (f"--reuid={self.account.pw_uid}", f"--regid={self.account.pw_gid}", "--init-groups")
        self.command = (*in_usual_place(root), "setpriv", *identity, str(COMMAND))
        self.variables = {"HOME": str(self.home), "USER": user}
        for name in ("kernels", "kernels-arm64"):
            (root / "state" / name).unlink()
        self.give(root, root / "state", self.home)
        for parent in list(root.parents)[:4]:
            if parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | SEARCHABLE)

    def give(self, *paths: Path) -> None:
        """Make these the user's."""
        for path in paths:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def take_kernels(self) -> None:
        """A copy of the guest kernels that all tests share, if there are any: what is root's is none of a user's."""
        shared, own = REPOSITORY / "build/kernels", self.root / "state/kernels"
        if shared.exists():
            shutil.copytree(shared, own)
            self.give(own, *own.rglob("*"))

    @property
    def keeper(self) -> int:
        """The process that keeps his namespaces, 0 without one."""
        path = self.root / "run/keeper"
        return int(files.read(str(path))) if locks.is_held(str(path)) else 0

    def remove_all(self) -> None:
        """Remove every workload, then the process that keeps the namespaces."""
        for name in self.names():
            self("rm", "--force", name)
        holder.end_all(Config(state=str(self.root / "state"), run=str(self.root / "run")))
        if pid := self.keeper:
            os.kill(pid, signal.SIGKILL)


def in_usual_place(root: Path, *more: str) -> tuple[str, ...]:
    """What lets a command see /dev/net/tun as udev makes it, open to everybody, where this machine has it closed.

    Args:
        more: further commands of the shell, before it.
    """
    node = root / "tun"
    if not node.exists():
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(10, 200))
        node.chmod(0o666)
    script = "; ".join([f"[ ! -e /dev/net/tun ] || mount --bind {node} /dev/net/tun", *more, 'exec "$@"'])
    return ("unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", script, "sh")


@pytest.fixture(scope="session")
def account() -> Iterator[str]:
    """A user of this machine with numbers of his own to map, for the time of the tests."""
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}: apt-get install uidmap slirp4netns")
    if any(not parent.stat().st_mode & 1 for parent in COMMAND.parents):
        pytest.skip(f"{COMMAND} lies where only its owner gets to")
    name = f"twinhull{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.fixture
def rootless(root: Path, account: str, nothing_is_left_behind: None) -> Iterator[Rootless]:
    """The command of a user without root; every workload is removed at the end."""
    command = Rootless(root, account)
    yield command
    command.remove_all()
