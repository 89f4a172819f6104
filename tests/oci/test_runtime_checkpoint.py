"""checkpoint and restore by a CRIU that knows this kernel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.criu import criu
from tests.support.oci import Container

COUNTS = "exec >/dev/null 2>&1; i=0; exec 5>>/n; while :; do i=$((i+1)); echo $i >&5; sleep 0.02; done"


@pytest.fixture
def saved(ours: Container) -> Container:
    """A container with nothing of ours for its streams, as engines have them."""
    ours.spec["process"]["env"] = ["PATH=/bin"]
    return ours


def checkpoint(container: Container, *options: str, check: bool = True) -> Any:
    words = ("--image-path", str(container.scratch / "images"), "--work-path", str(container.scratch / "work"))
    return container.do("--criu", criu(), "checkpoint", *words, *options, container.id, check=check)


def restore(container: Container, *options: str, identity: str = "", check: bool = True) -> Any:
    words = ("--image-path", str(container.scratch / "images"), "--work-path", str(container.scratch / "work"))
    bundle = ("--bundle", str(container.bundle), *options, identity or container.id)
    return container.do("--criu", criu(), "restore", "--detach", *words, *bundle, check=check)


def numbers(container: Container) -> list[str]:
    return (container.bundle / "rootfs/n").read_text().splitlines()


def await_more(container: Container, than: int) -> None:
    deadline = time.monotonic() + 10
    while len(numbers(container)) <= than:
        assert time.monotonic() < deadline, numbers(container)[-3:]
        time.sleep(0.02)


def begun(container: Container) -> Container:
    container.sh(COUNTS).begin()
    await_file(container.bundle / "rootfs/n")
    return container


def await_file(path: Path) -> None:
    """Return when it is there, with something in it."""
    deadline = time.monotonic() + 10
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_counts_goes_on_counting(saved: Container) -> None:
    begun(saved)
    checkpoint(saved)
    assert saved.do("state", saved.id, check=False).returncode == 1, "it is gone, as with runc"
    before = len(numbers(saved))
    pid_file = saved.scratch / "pid"
    restore(saved, "--pid-file", str(pid_file))
    await_more(saved, before)
    assert numbers(saved) == [str(number + 1) for number in range(len(numbers(saved)))], (
        "memory and file are what they were"
    )
    state = saved.state()
    assert (state["status"], str(state["pid"])) == ("running", pid_file.read_text())
    groups = Path(f"/proc/{state['pid']}/cgroup").read_text().splitlines()
    assert all(line.endswith(saved.spec["linux"]["cgroupsPath"]) for line in groups), groups
    assert saved.exec("/bin/echo", "here").stdout == "here\n"
    saved.do("kill", saved.id, "KILL")
    saved.await_status("stopped")
    saved.do("delete", saved.id)


def test_volumes_and_a_read_only_root_are_what_they_were_also_under_another_id(saved: Container) -> None:
    volume = saved.scratch / "volume"
    volume.mkdir()
    saved.spec["root"]["readonly"] = True
    for target, options in (
        ("/data", ["bind"]),
        ("/first", ["bind", "ro", "nosuid"]),
        ("/second/deep", ["rbind", "ro"]),
    ):
        mount = {"destination": target, "type": "bind", "source": str(volume), "options": options}
        saved.spec["mounts"].append(mount)
    saved.spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    saved.spec["linux"]["maskedPaths"] = ["/proc/keys", "/proc/timer_list", "/sys/firmware"]
    saved.spec["linux"]["readonlyPaths"] = ["/proc/sys"]
    saved.sh("echo kept >/tmp/kept; exec 6</data; while :; do date +%s%N >/data/now; sleep 0.02; done").begin()
    flags = mounted(saved, saved.id)
    time.sleep(0.1)
    checkpoint(saved)
    other, text = f"{saved.id}-2", (volume / "now").read_text()
    restore(saved, identity=other)
    try:
        deadline = time.monotonic() + 10
        while (volume / "now").read_text() in ("", text):
            assert time.monotonic() < deadline
        assert mounted(saved, other) == flags
        assert saved.do("exec", other, "/bin/cat", "/tmp/kept").stdout == "kept\n"
        for path in ("/first/x", "/second/deep/x", "/x", "/proc/sys/kernel/domainname"):
            assert saved.do("exec", other, "/bin/touch", path, check=False).returncode, path
    finally:
        saved.do("delete", "--force", other)


def mounted(container: Container, identity: str) -> list[tuple[str, str]]:
    """Path and flags of every mount."""
    lines = container.do("exec", identity, "/bin/cat", "/proc/self/mountinfo").stdout.splitlines()
    return sorted((line.split()[4], line.split()[5]) for line in lines)


def test_streams_that_are_pipes_are_those_of_who_restores_and_the_status_is_the_process_s(saved: Container) -> None:
    saved.sh("while read line; do echo got $line; done; exit 7").write()
    run = saved.argv("run", "--bundle", str(saved.bundle), saved.id)
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
        assert first.stdin and first.stdout
        first.stdin.write(b"one\n")
        first.stdin.flush()
        assert first.stdout.readline() == b"got one\n"
        checkpoint(saved)
        assert first.wait(timeout=30) == 137
    words = ("--image-path", str(saved.scratch / "images"), "--bundle", str(saved.bundle), saved.id)
    again = subprocess.run(
        saved.argv("--criu", criu(), "restore", *words), input=b"two\n", capture_output=True, timeout=60, check=False
    )
    assert (again.returncode, again.stdout) == (7, b"got two\n"), again.stderr
    assert saved.do("state", saved.id, check=False).returncode == 1


def test_a_container_can_be_left_running_and_its_memory_written_ahead(saved: Container) -> None:
    begun(saved)
    pid = saved.state()["pid"]
    before: tuple[str, ...] = ()
    if subprocess.run([criu(), "check", "--feature", "mem_dirty_track"], capture_output=True).returncode == 0:
        parent, before = saved.scratch / "parent", ("--parent-path", "../parent")
        saved.do("--criu", criu(), "checkpoint", "--pre-dump", "--image-path", str(parent), saved.id)
    checkpoint(saved, *before, "--leave-running")
    assert (saved.scratch / "images/parent").exists() == bool(before)
    assert saved.state()["pid"] == pid
    await_more(saved, len(numbers(saved)))
    refused = restore(saved, check=False)
    assert refused.returncode == 1 and "exists" in refused.stderr
    saved.remove()
    restore(saved)
    await_more(saved, len(numbers(saved)))


def test_what_is_paused_can_be_saved_and_stays_so_if_it_is_left(saved: Container) -> None:
    begun(saved)
    saved.do("pause", saved.id)
    checkpoint(saved, "--leave-running")
    assert saved.state()["status"] == "paused"
    saved.remove()
    restore(saved)
    await_more(saved, len(numbers(saved)))


def test_mounts_of_another_namespace_are_refused(saved: Container) -> None:
    rows = saved.spec["linux"]["namespaces"]
    saved.spec["linux"]["namespaces"] = [row for row in rows if row["type"] != "mount"]
    saved.spec["mounts"] = []
    saved.begin()
    assert "whose mounts are another's" in checkpoint(saved, check=False).stderr


@pytest.mark.parametrize("kinds", [("cgroup",), ("user",)], ids=lambda kinds: kinds[0])
def test_namespaces_come_back(saved: Container, kinds: tuple[str, ...]) -> None:
    saved.spec["linux"]["namespaces"] += [{"type": kind} for kind in kinds]
    saved.spec["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "nodev"]}
    )
    if "user" in kinds:
        saved.map_users()
    begun(saved)
    shown = "cat /proc/self/cgroup /proc/self/uid_map; hostname; id -u; ls /dev /sys/fs/cgroup/pids"
    before = saved.exec("/bin/sh", "-c", shown).stdout
    checkpoint(saved)
    restore(saved)
    assert saved.exec("/bin/sh", "-c", shown).stdout == before


@pytest.mark.parametrize("kinds", [("network",), ("ipc", "uts")], ids=lambda kinds: kinds[0])
def test_namespaces_of_others_are_joined_again(saved: Container, kinds: tuple[str, ...]) -> None:
    names = [{"network": "net"}.get(kind, kind) for kind in kinds]
    options = [f"--{name}" for name in names]
    words = ["unshare", *options, "/bin/sh", "-c", "echo; exec sleep 1000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.read(1)
        try:
            for row in saved.spec["linux"]["namespaces"]:
                if row["type"] in kinds:
                    row["path"] = f"/proc/{other.pid}/ns/{names[kinds.index(row['type'])]}"
            begun(saved)
            checkpoint(saved)
            restore(saved)
            pid = saved.state()["pid"]
            for name in names:
                assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{other.pid}/ns/{name}")
        finally:
            saved.remove()
            other.kill()


def test_a_terminal_goes_to_the_console_socket_of_who_restores(saved: Container) -> None:
    saved.spec["process"]["terminal"] = saved.spec["root"]["readonly"] = True
    saved.sh("stty -echo; while read line; do echo got $line; done")
    path = str(saved.scratch / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        saved.create("--console-socket", path)
        saved.start()
        first = master(listener)
        talk(first, "one")
        checkpoint(saved)
        os.close(first)
        refused = restore(saved, check=False)
        assert refused.returncode == 1 and "without --console-socket" in refused.stderr
        restore(saved, "--console-socket", path)
        second = master(listener)
        talk(second, "two")
        os.close(second)


def master(listener: socket.socket) -> int:
    """The descriptor that was sent."""
    with listener.accept()[0] as taken:
        _, fds, _, _ = socket.recv_fds(taken, 64, 1)
    return fds[0]


def talk(terminal: int, word: str) -> None:
    """Type a line, and wait for the answer."""
    os.write(terminal, f"{word}\n".encode())
    shown = b""
    while f"got {word}".encode() not in shown:
        shown += os.read(terminal, 100)


def test_hooks_around_it_run(saved: Container) -> None:
    log = saved.scratch / "hooks"
    saved.spec["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} $(cat) >>{log}"]}]
        for kind in ("createRuntime", "poststart", "poststop")
    }
    begun(saved)
    checkpoint(saved)
    restore(saved)
    pid = saved.state()["pid"]
    rows = [line.partition(" ")[::2] for line in log.read_text().splitlines()]
    assert [kind for kind, _ in rows] == ["createRuntime", "poststart", "poststop", "createRuntime", "poststart"]
    assert [json.loads(text)["pid"] for _, text in rows[3:]] == [pid, pid]


def test_limits_and_rules_of_devices_hold_for_what_is_restored(saved: Container) -> None:
    saved.spec["linux"]["resources"]["pids"] = {"limit": 64}
    begun(saved)
    checkpoint(saved)
    restore(saved)
    found = json.loads(saved.do("events", "--stats", saved.id).stdout)["data"]
    assert found["pids"]["limit"] == 64
    assert saved.exec("/bin/sh", "-c", "mknod /z b 254 0 2>/dev/null; cat /z >/dev/null", check=False).returncode


ERRORS = [
    (("checkpoint", "--manage-cgroups-mode", "loose"), "--manage-cgroups-mode: 'loose' is none of"),
    (("checkpoint", "--empty-ns", "uts"), "--empty-ns: 'uts' cannot be left empty"),
    (("checkpoint", "--lazy-pages"), "not defined: -lazy-pages (of checkpoint)"),
    (("checkpoint", "--parent-path", "/nowhere"), "--parent-path: /nowhere is absolute"),
    (("checkpoint", "--parent-path", "nowhere"), "nowhere is no directory"),
    (("checkpoint",), "cannot checkpoint container"),
    (("--isolation", "vm", "restore"), "of a virtual machine there is no checkpoint"),
    (("restore", "--image-path", "/nowhere"), "--image-path: /nowhere is no directory"),
    (("restore", "--image-path", "/"), "no checkpoint of this runtime's is there"),
    (("restore", "--keep-going"), "flag provided but not defined: -keep-going (of restore)"),
]


@pytest.mark.parametrize(
    ("words", "said"), ERRORS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_what_cannot_be_is_an_error_that_names_it(saved: Container, words: tuple[str, ...], said: str) -> None:
    saved.create()
    bundle = ("--bundle", str(saved.bundle)) if "restore" in words else ("--work-path", str(saved.scratch))
    images = () if "--image-path" in words else ("--image-path", str(saved.scratch / "images"))
    refused = saved.do("--criu", criu(), *words, *images, *bundle, saved.id, check=False)
    assert (refused.returncode, saved.state()["status"]) == (1, "created")
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_what_criu_refuses_is_said_and_the_container_goes_on(saved: Container) -> None:
    talks = "sleep 1000 | nc -l -p 9999 >/dev/null & sleep 0.3; sleep 1000 | nc 127.0.0.1 9999 >/dev/null & "
    saved.sh(f"exec >/dev/null 2>&1; {talks} sleep 0.3; while :; do echo >>/n; sleep 0.02; done").begin()
    await_file(saved.bundle / "rootfs/n")
    refused = checkpoint(saved, check=False)
    assert refused.returncode == 1
    assert "--tcp-established" in refused.stderr and "dump.log has more" in refused.stderr, refused.stderr
    await_more(saved, len(numbers(saved)))
    assert saved.state()["status"] == "running"


@pytest.mark.parametrize("delay", [0.1, 0.3])
def test_a_checkpoint_that_is_killed_leaves_a_container_that_goes_on_or_has_ended(
    saved: Container, delay: float
) -> None:
    begun(saved)
    words = ("--image-path", str(saved.scratch / "images"), saved.id)
    killed(saved.argv("--criu", criu(), "checkpoint", *words), delay)
    deadline, before = time.monotonic() + 10, len(numbers(saved))
    while saved.do("state", saved.id, check=False).returncode == 0 and saved.state()["status"] != "stopped":
        if len(numbers(saved)) > before:
            break
        assert time.monotonic() < deadline, saved.state()


@pytest.mark.parametrize("delay", [0.1, 0.3])
def test_a_restore_that_is_killed_leaves_what_delete_removes(saved: Container, delay: float) -> None:
    begun(saved)
    checkpoint(saved)
    words = ("--image-path", str(saved.scratch / "images"), "--bundle", str(saved.bundle), saved.id)
    killed(saved.argv("--criu", criu(), "restore", "--detach", *words), delay)
    saved.remove()
    assert saved.do("state", saved.id, check=False).returncode == 1
    time.sleep(0.2)
    before = len(numbers(saved))
    time.sleep(0.2)
    assert len(numbers(saved)) == before, "nothing of it runs"


def killed(words: list[str], delay: float) -> None:
    """Start a command and kill it after so many seconds."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
        time.sleep(delay)
        one.kill()


def test_without_criu_the_error_names_its_package(saved: Container) -> None:
    begun(saved)
    refused = saved.do("--criu", "/nowhere/criu", "checkpoint", saved.id, check=False)
    assert (refused.returncode, refused.stderr) == (
        1,
        "/nowhere/criu is not there: apt-get install criu iproute2 iptables\n",
    )
