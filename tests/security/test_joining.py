"""What a workload can do to the programs of ours that come into it: at its start, and with every exec."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.security.conftest import Box
from tests.support.command import COMMAND
from tests.support.privileges import LAUNCHER

PT_INTERP, PT_LOAD = 3, 1
JOINS = 25


@contextmanager
def program(box: Box, *words: str, until: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run the hostile program in the workload meanwhile."""
    with box.twinhull.popen("exec", box.isolation, "/attack/attack", *words, stdout=subprocess.PIPE) as process:
        try:
            if until:
                assert process.stdout
                assert process.stdout.readline() == until + "\n"
            yield process
        finally:
            process.kill()


def report(process: subprocess.Popen[str]) -> str:
    """All that the hostile program said, once its time is up."""
    assert process.stdout
    return process.stdout.read()


def fingerprint() -> str:
    return hashlib.sha256(LAUNCHER.read_bytes()).hexdigest()


def test_the_launcher_cannot_be_overwritten_by_a_workload_that_executes_it(box: Box) -> None:
    """CVE-2019-5736: the workload's program is /proc/self/exe, which is the launcher while it joins."""
    before = fingerprint()
    with program(box, "wait", "/tmp/socket", until="listening"), program(box, "exe", "4") as attacker:
        time.sleep(0.5)
        words = ("/proc/self/exe", "attach", "--socket", "/tmp/socket")
        joiner = box.twinhull.popen("exec", box.isolation, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = report(attacker)
        joiner.kill()
        joiner.communicate()
    assert "overwritten" not in said, said
    assert re.search(r"refused \d+ Read-only file system", said), said
    assert fingerprint() == before


def test_the_first_process_has_the_launcher_on_a_read_only_mount(box: Box) -> None:
    """CVE-2019-5736 by `run`: the image's entrypoint is the launcher, which does nothing that an image asks for."""
    result = box.run("--entrypoint", "/proc/self/exe", "busybox", "perorm")
    assert result.exit_code in (125, 126), result
    assert result.stdout == ""


def test_a_process_that_joins_can_be_neither_traced_nor_read(box: Box) -> None:
    """CVE-2016-9962: between joining the namespaces and its program it is still ours."""
    with program(box, "join", "5") as attacker:
        for _ in range(JOINS):
            box.exec("true", check=True)
        said = report(attacker)
    found = re.search(r"rounds (\d+), processes (\d+)", said)
    assert found and int(found[2]) >= JOINS // 2, f"the program has seen those that came: {said}"
    assert [line for line in said.splitlines() if not line.startswith("rounds")] == []


def test_no_descriptor_of_the_caller_reaches_a_workload(box: Box) -> None:
    """CVE-2024-21626: whatever the caller of the command left open."""
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    numbers = [fcntl.fcntl(directory, fcntl.F_DUPFD, lowest) for lowest in (117, 133)]
    script = "ls -v /proc/$$/fd; readlink /proc/$$/cwd; true"
    try:
        for words in (("run", "--rm", *box.words, "busybox"), ("exec", box.isolation)):
            done = subprocess.run(
                [COMMAND, *words, "sh", "-c", script],
                env=box.twinhull.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                pass_fds=numbers,
                timeout=60,
                check=False,
            )
            assert done.stdout.split() == ["0", "1", "2", "/"], done
    finally:
        for number in [*numbers, directory]:
            os.close(number)


@pytest.mark.parametrize("path", ["/proc/self/fd/5", "/proc/self/cwd", "/proc/1/root", "/shared/work"])
def test_a_directory_of_work_below_proc_is_refused(box: Box, path: str) -> None:
    """CVE-2024-21626: the directory of work as a descriptor of the host, by name or by a link in the image."""
    link = box.shared / "work"
    if not link.is_symlink():
        link.symlink_to("/proc/self/fd/5")
    for words in (("run", "--rm", *box.words, "-w", path, "busybox"), ("exec", "-w", path, box.isolation)):
        result = box.twinhull(*words, "ls", "-la", ".")
        assert (result.exit_code in (125, 126, 127), result.stdout) == (True, ""), result
        assert "directory-of-work" in result.stderr or path in result.stderr


def test_no_process_of_the_host_is_seen_and_none_can_be_signalled(box: Box) -> None:
    shown = box.sh("ls /proc | grep '^[0-9]' | wc -l; kill -0 2; readlink /proc/2/exe; cat /proc/1/comm")
    assert int(shown.split()[0]) < 10
    assert shown.splitlines()[1:] == ["sleep", "sh: can't kill pid 2: No such process"]


def test_the_launcher_loads_no_library_so_that_no_image_can_bring_one() -> None:
    """CVE-2019-14271: a helper that loaded its libraries after it had entered the root."""
    content = LAUNCHER.read_bytes()
    assert content[:4] == b"\x7fELF"
    (offset,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    kinds = [struct.unpack_from("<I", content, offset + index * size)[0] for index in range(count)]
    assert PT_LOAD in kinds
    assert PT_INTERP not in kinds
