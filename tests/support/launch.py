"""Plans performed by the real launcher (`launcher perform`), with a root of static busybox.

`launch(ops, *command)` performs ops and a command and returns what it wrote; a plan that stops raises the
LaunchError that the engine would raise. `launch.container(*command)` is the usual container around a command.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import pytest

from tests.support.privileges import LAUNCHER
from twinhull.errors import CommandNotExecutable, CommandNotFound, LaunchError
from twinhull.plan.codec import encode
from twinhull.plan.ops import Op

PLAN_FD, DIRECTORY_FD = 3, 5
BUSYBOX = Path("/bin/busybox")
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID = 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000
NAMESPACES = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
S_IFCHR = 0o020000
FAILURE = re.compile(r"^(\S+) ?(.*): (\d+)$", re.MULTILINE)
PROC = Op("filesystem", ("proc", "proc", "/proc", NOSUID | NODEV | NOEXEC, ""))
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
MOUNTS = (
    PROC,
    Op("filesystem", ("tmpfs", "tmpfs", "/dev", NOSUID, "mode=755,size=65536k")),
    Op("filesystem", ("devpts", "devpts", "/dev/pts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")),
    Op("filesystem", ("sysfs", "sysfs", "/sys", RDONLY | NOSUID | NODEV | NOEXEC, "")),
    Op("filesystem", ("cgroup2", "cgroup", "/sys/fs/cgroup", RDONLY | NOSUID | NODEV | NOEXEC, "")),
    Op("filesystem", ("mqueue", "mqueue", "/dev/mqueue", NOSUID | NODEV | NOEXEC, "")),
    Op("filesystem", ("tmpfs", "shm", "/dev/shm", NOSUID | NODEV | NOEXEC, "mode=1777,size=65536k")),
    *(Op("device", (f"/dev/{name}", 0o666, S_IFCHR, major, minor, 0, 0)) for name, major, minor in DEVICES),
    Op("symlink", ("/proc/self/fd", "/dev/fd")),
    Op("symlink", ("pts/ptmx", "/dev/ptmx")),
)


class Result(NamedTuple):
    """How `launcher perform` ended."""

    exit_code: int
    stdout: str
    stderr: str


class Started(subprocess.Popen[str]):
    """A launcher that runs; one that a failed test leaves behind is killed instead of waited for."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            self.kill()
        super().__exit__(kind, value, trace)


class Launch:
    """Performs plans; `image` is a root of busybox that each overlay has as its lower layer."""

    def __init__(self, scratch: Path) -> None:
        self.launcher = os.environ.get("TWINHULL_TEST_LAUNCHER", str(LAUNCHER))
        self.scratch = scratch
        self.image = scratch / "image"
        make_image(self.image)

    def overlay(self, lower: Sequence[str] = ("image",), *, volatile: bool = False) -> Op:
        """Return an overlay of layers in the scratch directory with upper and work of its own."""
        upper = f"{self.scratch}/changes{len(list(self.scratch.glob('changes*')))}"
        os.mkdir(upper)
        return Op("overlay", (str(self.scratch), ":".join(lower), f"{upper}/upper", f"{upper}/work", int(volatile)))

    def root(self, *ops: Op, mounts: Sequence[Op] = (PROC,), flags: int = NAMESPACES) -> list[Op]:
        """Return a plan that makes and enters a root; `ops` are performed before it is entered."""
        return [*self.outside(flags), self.overlay(), *mounts, *ops, Op("enter-root")]

    def outside(self, flags: int = NAMESPACES) -> list[Op]:
        """Return the first ops of every child stage."""
        return [Op("namespaces", (flags,)), Op("private-mounts")]

    def container(
        self, *command: str, before: Iterable[Op] = (), after: Iterable[Op] = (), host: Iterable[Op] = ()
    ) -> str:
        """Run a command in a container as the engine's; more ops before and after the root is entered."""
        return self([*host, *self.root(*before, mounts=MOUNTS), *after], *command)

    def __call__(self, ops: Iterable[Op], *command: str, main_pid: int = 0) -> str:
        """Perform ops and a command and return its standard output.

        Raises:
            LaunchError: the plan stopped.
        """
        result = self.result(ops, *command, main_pid=main_pid)
        if result.exit_code in (125, 126, 127) and (found := FAILURE.search(result.stderr)):
            kinds = {126: CommandNotExecutable, 127: CommandNotFound}
            raise kinds.get(result.exit_code, LaunchError)(found[1], found[2], int(found[3]))
        assert result.exit_code == 0, f"{result}\n{list(ops)}"
        return result.stdout

    def result(self, ops: Iterable[Op], *command: str, main_pid: int = 0, stdin: str = "") -> Result:
        """Perform ops and a command; nothing is raised for what they do."""
        with self.start(ops, *command, main_pid=main_pid) as process:
            stdout, stderr = process.communicate(stdin, timeout=30)
        return Result(process.returncode, stdout, stderr)

    def start(
        self,
        ops: Iterable[Op],
        *command: str,
        main_pid: int = 0,
        inherit: Sequence[int] = (),
        arguments: Sequence[str] | None = None,
    ) -> Started:
        """Start the launcher and leave it running."""
        plan = encode(with_command(ops, command))
        with descriptors(plan, self.scratch) as opened:
            join = ["--join", str(main_pid)] if main_pid else []
            return Started(
                [*placed(*opened), self.launcher, *(arguments or ["perform", *join])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(*opened, *inherit),
                text=True,
                errors="surrogateescape",
            )

    def undo(self, *ops: Op) -> Result:
        """Perform undo ops by `launcher undo`."""
        with self.start(ops, arguments=["undo"]) as process:
            stdout, stderr = process.communicate(timeout=30)
        return Result(process.returncode, stdout, stderr)


@contextlib.contextmanager
def descriptors(plan: bytes, directory: Path) -> Iterator[tuple[int, int]]:
    """The plan and the instance directory, open at numbers that nothing else asks for."""
    plan_fd = os.memfd_create("plan")
    os.write(plan_fd, plan)
    low = (plan_fd, os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
    high = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in low)
    try:
        yield high[0], high[1]
    finally:
        for fd in (*low, *high):
            os.close(fd)


def placed(plan_fd: int, directory_fd: int) -> list[str]:
    """The command that puts both at the launcher's numbers; in the child, for here they belong to the test run."""
    moves = f"{PLAN_FD}<&{plan_fd} {DIRECTORY_FD}<&{directory_fd} {plan_fd}<&- {directory_fd}<&-"
    return ["bash", "-c", f'exec "$@" {moves}', "bash"]


def with_command(ops: Iterable[Op], command: Sequence[str]) -> list[Op]:
    """Return the plan with a command as its process, before any undo ops."""
    plan = list(ops)
    if not command:
        return plan
    process = [Op("environment", ("PATH=/bin",)), *(Op("argument", (word,)) for word in command)]
    return [*plan, *process, Op("exec", (command[0],))]


def make_image(path: Path) -> None:
    """Make a root with the static busybox of the system under every name it knows."""
    (path / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in set(names) - {"busybox"}:
        (path / "bin" / name).symlink_to("busybox")


@pytest.fixture
def launch(tmp_path: Path, nothing_is_left_behind: None) -> Launch:
    """The launcher, with a scratch directory of the test's own."""
    scratch = tmp_path / "launch"
    scratch.mkdir()
    return Launch(scratch)
