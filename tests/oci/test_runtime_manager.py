"""Who manages the control groups: cgroupfs, or nobody. crun's words, beside it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.oci import Container

DISABLED = ("--cgroup-manager", "disabled")


def groups(text: str) -> set[str]:
    """The groups of a process but for the memory controller's: the tests may run in one of their own there."""
    return {line for line in text.splitlines() if ":memory:" not in line}


def create(container: Container) -> str:
    """Create it without groups, and return what was said."""
    container.write()
    return container.do(*DISABLED, "create", "--bundle", str(container.bundle), container.id).stderr


def test_without_a_manager_a_container_stays_in_the_groups_of_its_caller(container: Container) -> None:
    if container.runtime == "runc":
        pytest.skip("an option of crun's")
    create(container)
    container.start()
    pid = container.state()["pid"]
    assert groups(Path(f"/proc/{pid}/cgroup").read_text()) == groups(Path("/proc/self/cgroup").read_text())
    assert not Path("/sys/fs/cgroup/pids/twinhull-test", container.id).exists()
    assert groups(container.exec("cat", "/proc/self/cgroup").stdout) == groups(Path("/proc/self/cgroup").read_text())
    assert container.do("pause", container.id, check=False).returncode == 1
    container.do("kill", *(["--all"] if container.ours else []), container.id, "KILL")
    container.await_status("stopped")
    container.do("delete", container.id)


def test_without_a_manager_the_processes_are_those_of_the_pid_namespace(ours: Container) -> None:
    ours.sh("sleep 1000 & exec sleep 1001")
    assert "linux.resources.devices: not enforced" in create(ours)
    ours.start()
    listed = json.loads(ours.do("ps", "--format", "json", ours.id).stdout)
    assert len(listed) == 2 and ours.state()["pid"] in listed
    assert os.getpid() not in listed


def test_without_a_manager_a_joined_pid_namespace_is_left_alone(ours: Container) -> None:
    """What is killed with a container is its own, and what is listed, too."""
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        other = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])
        rows = [row for row in ours.spec["linux"]["namespaces"] if row["type"] != "pid"]
        ours.spec["linux"]["namespaces"] = [*rows, {"type": "pid", "path": f"/proc/{other}/ns/pid"}]
        create(ours)
        ours.start()
        assert json.loads(ours.do("ps", "--format", "json", ours.id).stdout) == [ours.state()["pid"]]
        ours.do("delete", "--force", ours.id)
        assert Path(f"/proc/{other}/comm").read_text() == "sleep\n"
        holder.kill()


def test_without_a_manager_a_limit_is_an_error(ours: Container) -> None:
    ours.spec["linux"]["resources"]["pids"] = {"limit": 5}
    ours.write()
    failed = ours.do(*DISABLED, "create", "--bundle", str(ours.bundle), ours.id, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith("linux.resources.pids: "), failed.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--cgroup-manager", "banana"), "--cgroup-manager: 'banana' is none of cgroupfs, systemd and disabled"),
        (("--cgroup-manager", "systemd"), "--cgroup-manager systemd: the systemd cgroup driver is not there yet"),
        (("--systemd-cgroup",), "--systemd-cgroup: the systemd cgroup driver is not there yet"),
    ],
)
def test_another_manager_is_an_error(ours: Container, option: tuple[str, ...], said: str) -> None:
    ours.write()
    failed = ours.do(*option, "create", "--bundle", str(ours.bundle), ours.id, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith(said), failed.stderr
    ours.do("--cgroup-manager", "cgroupfs", "create", "--bundle", str(ours.bundle), ours.id)
