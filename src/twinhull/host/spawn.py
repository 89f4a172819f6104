"""The one place that starts processes: the shim without a fork of Python, tools through subprocess.

Promise: a child gets the descriptors named here and no others, and default signal dispositions.
"""

from __future__ import annotations

import os
from _signal import SIG_BLOCK, pthread_sigmask  # type: ignore[import-not-found]  # has no stub; signal costs 3 ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Mapping, Sequence
    from typing import NoReturn

FIRST_FREE_FD = 64  # below it lie the numbers that a plan may give to the child
PLAN_FD, CLIENT_FD, DIRECTORY_FD = 3, 4, 5
F_DUPFD_CLOEXEC = 1030  # fcntl(2); the module's import would cost more than the call
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SIGPIPE, SIGXFSZ = 13, 25  # the two that CPython ignores


def spawn_shim(
    launcher: str,
    *,
    plan: bytes,
    client_fd: int,
    directory_fd: int,
    inherit: Mapping[int, int] | None = None,
    flags: Sequence[str] = (),
) -> int:
    """Start `launcher shim` and return its pid.

    Args:
        plan: the encoded host and child stages.
        client_fd: the shim's end of a stream socketpair; the caller keeps the other.
        inherit: numbers the shim shall see (the plan's `inherit` ops) -> descriptors of ours.
    """
    plan_fd = memory_file("plan", plan)
    wanted = {PLAN_FD: plan_fd, CLIENT_FD: client_fd, DIRECTORY_FD: directory_fd, **(inherit or {})}
    try:
        return spawn(launcher, ["twinhull-shim", "shim", *flags], wanted)
    finally:
        os.close(plan_fd)


def spawn(
    path: str,
    argv: Sequence[str],
    descriptors: Mapping[int, int],
    environment: Mapping[str, str] | None = None,
    *,
    outlives: bool = False,
) -> int:
    """Start a program with /dev/null as its standard streams and `descriptors`; return its pid.

    Args:
        environment: its variables; ours, where it is None.
        outlives: it goes on when we have ended: the signals that we block for a while are none of its.
    """
    from fcntl import fcntl

    # A source may have the number of another's target: all move out of the way first.
    moved = {number: fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD) for number, fd in descriptors.items()}
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
    actions += [(os.POSIX_SPAWN_OPEN, n, "/dev/null", os.O_RDWR, 0) for n in range(3) if n not in moved]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in moved.items()]
    try:
        variables = os.environ if environment is None else environment
        blocked = () if outlives else pthread_sigmask(SIG_BLOCK, ())
        standard = (SIGPIPE, SIGXFSZ)
        return os.posix_spawn(path, list(argv), variables, file_actions=actions, setsigdef=standard, setsigmask=blocked)
    finally:
        for fd in moved.values():
            os.close(fd)


def become(path: str, argv: Sequence[str], keep: Iterable[int] = ()) -> NoReturn:
    """Replace this process by a program that inherits `keep`."""
    for fd in keep:
        os.set_inheritable(fd, True)
    os.execv(path, list(argv))


def memory_file(name: str, content: bytes) -> int:
    """Return a memfd with `content`, at its start."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def search_path(path: str) -> str:
    """A caller's PATH, and the usual places behind it: cron's has no sbin, and others have nothing at all."""
    return ":".join(filter(None, (path, USUAL_PATH)))


def with_usual_places(environment: Mapping[str, str] | None) -> dict[str, str]:
    """A tool's variables, ours where it is None."""
    given = os.environ if environment is None else environment
    return {**given, "PATH": search_path(given.get("PATH", ""))}


def run_tool(
    argv: Sequence[str],
    *,
    input_text: str | None = None,
    pass_fds: Sequence[int] = (),
    timeout_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    executable: str | None = None,
    usual_places: bool = True,
    directory: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end and return what it wrote; a non-zero status is the caller's to judge.

    Args:
        executable: the program, where it is not the first word.
        environment: its variables; ours, where it is None.
        usual_places: its PATH is completed, so that it finds what it needs itself.
        directory: where it runs; here, where it is None.
    """
    import subprocess

    return subprocess.run(
        argv,
        input=input_text,
        stdin=subprocess.DEVNULL if input_text is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        pass_fds=pass_fds,
        timeout=timeout_s,
        check=False,
        env=with_usual_places(environment) if usual_places else environment,
        executable=executable,
        cwd=directory,
    )


def popen(
    argv: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a long-running tool.

    Args:
        stderr: a pipe that the caller reads, where it is None.
        environment: its variables; ours, where it is None.
    """
    import subprocess

    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.PIPE if stderr is None else stderr,
        pass_fds=pass_fds,
        env=with_usual_places(environment),
    )
