"""A mount namespace that is not the container's own: none in linux.namespaces, or one that is joined by its path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oci.test_runtime_faults import call
from tests.support.oci import Container


@pytest.fixture
def other() -> Iterator[int]:
    """A process with a mount namespace of its own, which has a mount that nobody else has."""
    script = "mount -t tmpfs theirs /mnt && touch /mnt/theirs && echo && exec sleep 1000"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE) as made:
        assert made.stdout
        made.stdout.readline()
        yield made.pid
        made.kill()


@pytest.fixture(params=["none", "joined"])
def foreign(request: pytest.FixtureRequest, ours: Container, other: int) -> tuple[Container, int]:
    """A container without a mount namespace of its own, and a process that is in the one it shall be in."""
    rows = [row for row in ours.spec["linux"]["namespaces"] if row["type"] != "mount"]
    joined = request.param == "joined"
    ours.spec["linux"]["namespaces"] = [
        *rows,
        *([{"type": "mount", "path": f"/proc/{other}/ns/mnt"}] if joined else []),
    ]
    return ours, other if joined else os.getpid()


def mounts(pid: int) -> str:
    """The mounts of the namespace that a process is in."""
    return Path(f"/proc/{pid}/mountinfo").read_text()


def test_the_container_has_its_root_there_and_no_mount_shows(foreign: tuple[Container, int], tmp_path: Path) -> None:
    container, pid = foreign
    (tmp_path / "given").write_text("given\n")
    bind = {"destination": "/in/given", "type": "bind", "source": str(tmp_path / "given"), "options": ["bind", "ro"]}
    container.spec["mounts"].append(bind)
    container.spec["root"]["readonly"] = True
    container.spec["linux"]["maskedPaths"] = ["/proc/keys", "/sys/firmware"]
    container.spec["linux"]["readonlyPaths"] = ["/proc/sys"]
    container.spec["process"]["cwd"] = "/in"
    before = mounts(pid), mounts(os.getpid())
    container.begin()
    assert (mounts(pid), mounts(os.getpid())) == before
    first = container.state()["pid"]
    assert os.readlink(f"/proc/{first}/ns/mnt") == os.readlink(f"/proc/{pid}/ns/mnt")
    assert container.exec("/bin/sh", "-c", "readlink /proc/1/cwd; cat /in/given").stdout == "/in\ngiven\n"
    for refused in ("/made", "/in/given", "/proc/sys/kernel/hostname"):
        assert container.exec("/bin/sh", "-c", f"echo > {refused}", check=False).returncode == 1
    script = "cat /proc/keys; ls /sys/firmware /dev/pts; cat /proc/1/comm"
    assert container.exec("/bin/sh", "-c", script).stdout.split() == ["/dev/pts:", "ptmx", "/sys/firmware:", "sleep"]
    container.remove()
    assert (mounts(pid), mounts(os.getpid())) == before


def test_a_killed_container_leaves_no_mount(foreign: tuple[Container, int]) -> None:
    container, pid = foreign
    before = mounts(pid), mounts(os.getpid())
    container.begin()
    os.kill(container.state()["pid"], 9)
    container.await_status("stopped")
    assert (mounts(pid), mounts(os.getpid())) == before


@pytest.mark.parametrize("point", ["enter-root", "foreign-mounts", "exec"])
def test_a_create_that_is_killed_leaves_no_mount(foreign: tuple[Container, int], point: str) -> None:
    container, pid = foreign
    before = mounts(pid), mounts(os.getpid())
    container.write()
    making = call(container, "create", "--bundle", str(container.bundle), container.id, fault=point)
    assert making.wait(timeout=60) == 1
    assert (mounts(pid), mounts(os.getpid())) == before


def test_a_terminal_is_its_console(foreign: tuple[Container, int]) -> None:
    container, _ = foreign
    container.spec["process"]["terminal"] = True
    container.sh("tty; test -c /dev/console && echo console").write()
    words = container.argv("run", "--bundle", str(container.bundle), container.id)
    done = subprocess.run(["script", "-qec", " ".join(words), "/dev/null"], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["/dev/pts/0", "console"], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rootfsPropagation": "shared"}, "linux.rootfsPropagation"),
        ({"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 10}]}, "linux.namespaces"),
    ],
    ids=["spread", "users"],
)
def test_what_it_cannot_have_is_named(foreign: tuple[Container, int], change: dict[str, object], named: str) -> None:
    container, _ = foreign
    container.spec["linux"].update(change)
    if "uidMappings" in change:
        container.spec["linux"]["namespaces"].append({"type": "user"})
    assert container.create(check=False).returncode == 1
    assert container.errors()[-1].startswith(named)


def test_mounts_that_spread_are_named(foreign: tuple[Container, int]) -> None:
    container, _ = foreign
    row = {"destination": "/in", "type": "bind", "source": "/srv", "options": ["rbind", "rslave"]}
    container.spec["mounts"].append(row)
    assert container.create(check=False).returncode == 1
    assert container.errors()[-1].startswith("mounts[4].options")
