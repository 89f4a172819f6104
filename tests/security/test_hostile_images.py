"""Images and volumes made by an attacker, given to the real command: nothing of the host is granted or reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.security.conftest import Box
from tests.support.command import Twinhull
from tests.support.launch import BUSYBOX
from tests.support.layers import Layout, directory, entry, symlink, tar

ROUNDS = {"container": 12, "vm": 2}


def pull(home: Twinhull, path: Path, name: str, *more: tuple[tarfile.TarInfo, bytes], **config: Any) -> str:
    """Make an image of busybox with further entries, and pull it."""
    shell = [directory("bin"), entry("bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755)]
    links = [symlink(f"bin/{word}", "busybox") for word in ("sh", "cat", "ls", "true", "id", "sed", "sort")]
    layout = Layout(path / name)
    layout.tag(layout.manifest([tar([*shell, *links, *more])], **config), "latest")
    reference = f"oci:{path / name}:latest"
    home("pull", reference, check=True)
    return reference


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_an_image_whose_proc_sys_or_dev_is_a_link_does_not_start(box: Box, tmp_path: Path, name: str) -> None:
    """CVE-2023-28642: masks and read-only paths would cover the link's target instead."""
    image = pull(box.twinhull, tmp_path, "linked", directory("elsewhere"), symlink(name, "elsewhere"))
    result = box.run(image, "cat", f"/{name}/self/status")
    box.twinhull("rmi", image)
    assert (result.exit_code, result.stdout) == (125, ""), result
    assert f"the image has a symbolic link at /{name}" in result.stderr


def test_an_image_that_names_no_signal_there_is_can_be_stopped(box: Box, tmp_path: Path) -> None:
    image = pull(box.twinhull, tmp_path, "deaf", config={"Cmd": ["cat"], "StopSignal": "NOSUCH"})
    box.twinhull("run", "-d", "-i", *box.words, "--name", "deaf", image, check=True)
    stopped = box.twinhull("stop", "-t", "0", "deaf")
    shown = box.twinhull("inspect", "deaf", check=True).json()[0]["status"]
    box.twinhull("rm", "-f", "deaf", check=True)
    box.twinhull("rmi", image)
    assert (stopped.exit_code, shown) == (0, "exited"), stopped.stderr


def test_what_an_image_has_below_dev_is_never_used(box: Box, tmp_path: Path) -> None:
    """CVE-2025-31133, CVE-2025-52565: links where null, console and pts should be."""
    links = [symlink(f"dev/{name}", "/victim") for name in ("null", "console", "ptmx", "pts", "full", "shm")]
    image = pull(box.twinhull, tmp_path, "nodes", directory("dev"), entry("victim", b"kept"), *links)
    result = box.run("-t", image, "sh", "-c", "cat /victim; echo; cat /proc/keys; ls -l /dev/null; echo x > /dev/null")
    box.twinhull("rmi", image)
    assert result.stdout.startswith("kept"), result
    assert "1,   3" in result.stdout


def test_nothing_that_an_image_says_grants_a_mount_a_device_or_a_privilege(box: Box, tmp_path: Path) -> None:
    """CVE-2022-23648 and its like: volumes, mounts, labels and settings in an image's config."""
    grants = {
        "Cmd": ["sh"],
        "Volumes": {"/host": {}, "/etc/../../../host": {}, "/var/run/docker.sock": {}},
        "Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}],
        "HostConfig": {"Privileged": True, "Binds": ["/:/host"], "NetworkMode": "host", "PidMode": "host"},
        "Labels": {"io.containerd.runc.privileged": "true", "dev.twinhull.isolation": "host", "run": "--privileged"},
        "Capabilities": {"effective": ["CAP_SYS_ADMIN"]},
        "SecurityOpt": ["seccomp=unconfined"],
    }
    links = [directory("var"), directory("var/run"), symlink("host", "/etc"), entry("etc/of-the-image", b"kept")]
    image = pull(
        box.twinhull, tmp_path, "grants", *links, config=grants, annotations={"dev.twinhull.isolation": "host"}
    )
    script = "sed 's/ - .*//; s/.* \\(\\/[^ ]*\\) [a-z].*/\\1/' /proc/self/mountinfo | sort; cat /proc/self/status"
    volumes = ("-v", "/etc", "-v", "/var/run/docker.sock")  # what it gets of those it declares: /host is a link to /etc
    wanted = [box.run(*volumes, "busybox", "sh", "-c", script).stdout, box.run(image, "sh", "-c", script).stdout]
    seen = box.run(image, "sh", "-c", "ls /host/ /var/run/docker.sock").stdout.split()
    box.twinhull("rmi", image)
    ours = {"hostname", "hosts", "resolv.conf", "/host/:", "/var/run/docker.sock:"}
    assert set(seen) - ours == {"of-the-image"}, "a link led out of the image while it was copied"
    # A guest writes its own files through a link, and lays them over a volume that is named as what it covers.
    own = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}
    interesting = [
        [line for line in text.splitlines() if line.startswith(("/", "Cap", "Seccomp", "NoNewPrivs", "Uid"))]
        for text in wanted
    ]
    interesting = [[line for line in lines if line not in own] for lines in interesting]
    assert interesting[0] == interesting[1] and any(line.startswith("Cap") for line in interesting[0])


@pytest.mark.parametrize("user", ["0:0:extra", "-1", "4294967295", "../../etc/passwd", "root\nroot"])
def test_a_user_of_an_image_that_is_none_is_refused(home: Twinhull, tmp_path: Path, user: str) -> None:
    image = pull(home, tmp_path, "user", config={"Cmd": ["id"], "User": user})
    result = home("run", "--rm", "--network", "none", image)
    home("rmi", image)
    assert (result.exit_code, result.stdout) == (125, ""), result


def test_a_volume_over_a_link_of_another_volume_stays_inside(box: Box, tmp_path: Path) -> None:
    """CVE-2021-30465: the target of a mount is a link that leads out of the root, or to the kernel's own files."""
    outside, inner = tmp_path / "outside", tmp_path / "inner"
    outside.mkdir()
    inner.mkdir()
    (inner / "mine").touch()
    (box.shared / "out").symlink_to(f"../../../../../../../../..{outside}")
    (box.shared / "magic").symlink_to("/proc/self/root")
    for name in ("out", "magic"):
        result = box.run("-v", f"{inner}:/shared/{name}/x", "busybox", "sh", "-c", "cat /proc/self/mountinfo")
        assert result.exit_code in (0, 125)
        (box.shared / name).unlink()
    assert list(outside.iterdir()) == []
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()


def test_a_race_of_a_running_workload_with_a_mount_of_another_mounts_nothing_outside(box: Box, tmp_path: Path) -> None:
    """CVE-2021-30465 itself: a workload swaps a directory for a link while another starts with the same volume."""
    outside, inner = tmp_path / "outside", tmp_path / "inner"
    (outside / "x").mkdir(parents=True)
    inner.mkdir()
    (inner / "mine").touch()
    (box.shared / "a/x").mkdir(parents=True)
    (box.shared / "link").symlink_to(f"../../../../../../../..{outside}")
    attacker = box.twinhull.popen(
        *("exec", box.isolation, "/attack/attack", "swap", "/shared/a", "/shared/link", "60"), stdout=subprocess.PIPE
    )
    try:
        assert attacker.stdout
        assert attacker.stdout.readline() == "swapping\n"
        for _ in range(ROUNDS[box.isolation]):
            result = box.run("-v", f"{inner}:/shared/a/x", "busybox", "cat", "/proc/self/mountinfo")
            targets = {line.split()[4] for line in result.stdout.splitlines()}
            ours = {path for path in targets if path.endswith("/x")}
            assert result.exit_code == 125 or len(ours) == 1, result
    finally:
        attacker.kill()
        attacker.communicate()
        while box.sh("pidof attack"):  # it ends with the connection, and not before
            time.sleep(0.05)
        for name in ("a", "link"):
            path = box.shared / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert list((outside / "x").iterdir()) == []
    assert os.listdir(outside) == ["x"]
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()
