"""linux.namespaces with paths, a user namespace among them: each runtime alike."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci import OUTER, OUTER_SIZE, Container

NAMES = {"network": "net", "mount": "mnt"}


@pytest.fixture
def other() -> Iterator[int]:
    """A process with a user namespace, which owns its other namespaces."""
    with subprocess.Popen(["unshare", "--user", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text(f"0 {OUTER} {OUTER_SIZE}\n")
        enter = ["nsenter", "--user", "--target", str(holder.pid), "--setuid", "0", "--setgid", "0"]
        argv = [*enter, "unshare", "-nipufm", "sh", "-c", "echo; exec sleep 1000"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as made:
            assert made.stdout
            made.stdout.readline()
            child = int(Path(f"/proc/{made.pid}/task/{made.pid}/children").read_text().split()[0])
            yield child
            subprocess.run(["kill", "-KILL", str(child), str(made.pid), str(holder.pid)], check=False)


def mapped(container: Container) -> Container:
    """Give a container its root, and say how numbers are mapped: runc wants to hear it of one that is joined, too."""
    container.map_users()
    return container


def joins(container: Container, pid: int, kinds: set[str]) -> Container:
    """Let a container join namespaces of a process, and give it its root."""
    rows = [row for row in container.spec["linux"]["namespaces"] if row["type"] not in kinds]
    rows += [{"type": kind, "path": f"/proc/{pid}/ns/{NAMES.get(kind, kind)}"} for kind in sorted(kinds)]
    container.spec["linux"]["namespaces"] = rows
    container.spec.pop("hostname")
    return mapped(container)


@pytest.mark.parametrize(
    "kinds",
    [{"user"}, {"user", "network"}, {"user", "network", "ipc", "uts"}, {"user", "network", "ipc", "uts", "pid"}],
    ids=lambda kinds: "-".join(sorted(kinds)),
)
def test_a_user_namespace_is_joined_by_its_path(container: Container, other: int, kinds: set[str]) -> None:
    joins(container, other, kinds).sh("touch /made; sleep 1000").begin()
    pid = container.state()["pid"]
    for kind in ("user", "network", "ipc", "uts", "pid"):
        name = NAMES.get(kind, kind)
        same = os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{other}/ns/{name}")
        assert same == (kind in kinds), kind
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(OUTER), str(OUTER_SIZE)]
    assert container.exec("/bin/id", "-u").stdout == "0\n"
    container.remove()


def test_the_streams_are_the_joined_roots(container: Container, other: int) -> None:
    joins(container, other, {"user"}).sh("id -u >/dev/stdout").write()
    words = container.argv("run", "--bundle", str(container.bundle), container.id)
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.stdout == "0\n", done.stderr


def test_a_namespace_of_the_hosts_is_joined_beside_a_user_namespace_of_its_own(container: Container) -> None:
    """Which gives no right over it: it is entered before."""
    linux = container.spec["linux"]
    for row in linux["namespaces"]:
        if row["type"] in ("network", "ipc"):
            row["path"] = f"/proc/{os.getpid()}/ns/{NAMES.get(row['type'], row['type'])}"
    linux["namespaces"].append({"type": "user"})
    container.spec["mounts"] = [mount for mount in container.spec["mounts"] if mount["destination"] != "/sys"]
    assert mapped(container).output("cat /proc/self/uid_map").split() == ["0", str(OUTER), str(OUTER_SIZE)]


def test_a_mount_namespace_of_the_joined_users_is_entered_with_them(ours: Container, other: int) -> None:
    """As the last step: its root stays what it is for who is there."""
    before = Path(f"/proc/{other}/mountinfo").read_text()
    joins(ours, other, {"user", "mount", "pid"}).begin()
    pid = ours.state()["pid"]
    for kind in ("user", "mnt", "pid"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{other}/ns/{kind}")
    assert ours.exec("/bin/sh", "-c", "id -u; ls /bin/busybox /proc/1/comm").stdout == "0\n/bin/busybox\n/proc/1/comm\n"
    assert Path(f"/proc/{other}/mountinfo").read_text() == before
    ours.remove()
