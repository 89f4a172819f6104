"""Known attacks on OCI runtimes, tried on twinhull-oci and, if no shared kernel is what they need, on machines.

The bundle's root is the attacker's: what is in it, and the program that runs in it. The spec is the caller's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci import Container
from twinhull.runtime.oci.launcher import launcher

SECRET = "of the host alone"


@pytest.fixture(params=["ours", "machine"])
def either(request: pytest.FixtureRequest) -> Container:
    """A container and a virtual machine."""
    made: Container = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's that no bundle names: nothing in it changes."""
    place = tmp_path / "outside"
    (place / "below").mkdir(parents=True)
    (place / "secret").write_text(SECRET)
    yield place
    assert sorted(path.name for path in place.rglob("*")) == ["below", "secret"]
    assert (place / "secret").read_text() == SECRET


def holds(container: Container, *names: str) -> None:
    """Let its program hold these capabilities as well."""
    sets = container.spec["process"]["capabilities"]
    container.spec["process"]["capabilities"] = {kind: [*held, *names] for kind, held in sets.items()}


def test_the_runtime_cannot_be_overwritten_by_what_it_executes(ours: Container) -> None:
    """CVE-2019-5736: through /proc/PID/exe of a process that joins, and as the program itself."""
    before = hashlib.sha256(Path(launcher()).read_bytes()).hexdigest()
    holds(ours, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    ours.sh("while :; do for exe in /proc/[0-9]*/exe; do echo x >>$exe; done; done 2>/dev/null").begin()
    for _ in range(20):
        assert ours.exec("true").returncode == 0
    ours.remove()
    for program in ("/proc/self/exe", "/proc/1/exe"):
        ours.args(program, "-c", "true").run(check=False)
    assert hashlib.sha256(Path(launcher()).read_bytes()).hexdigest() == before


def test_above_the_root_in_the_hosts_mount_namespace_there_is_nothing(ours: Container, attack: Path) -> None:
    """The way out of a chroot: the root of a container without a mount namespace of its own is in no namespace."""
    shutil.copy(attack / "attack", ours.bundle / "rootfs/attack")
    rows = ours.spec["linux"]["namespaces"]
    ours.spec["linux"]["namespaces"] = [row for row in rows if row["type"] != "mount"]
    holds(ours, "CAP_SYS_CHROOT")
    found = ours.args("/attack", "climb").run().stdout.split()
    assert sorted(found) == sorted([".", "..", *os.listdir(ours.bundle / "rootfs")])


@pytest.mark.parametrize("number", [3, 5, 7, 8, 9, 58])
def test_a_directory_of_work_that_is_a_leaked_descriptor_is_refused(either: Container, number: int) -> None:
    """CVE-2024-21626, of create and of exec, directly and through a link of the image's."""
    place = f"/proc/self/fd/{number}"
    (either.bundle / "rootfs/way").symlink_to(place)
    for path in (place, "/way"):
        either.spec["process"]["cwd"] = path
        assert either.run(check=False).returncode != 0, path
        either.remove()
    either.spec["process"]["cwd"] = "/"
    either.begin()
    for path in (place, "/way"):
        assert either.do("exec", "--cwd", path, either.id, "/bin/pwd", check=False).returncode == 255, path


def test_no_descriptor_but_the_standard_ones_reaches_the_program_or_an_exec(either: Container) -> None:
    held = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(held, True)
    script = "for number in $(seq 3 70); do readlink /proc/self/fd/$number; done; echo none"
    try:
        assert either.output(script) == "none\n"
        either.remove()
        either.args("/bin/sleep", "1000").begin()
        assert either.exec("/bin/sh", "-c", script).stdout == "none\n"
    finally:
        os.close(held)


@pytest.mark.parametrize("link", ["/{}", "../../../../../../../..{}", "/proc/self/root/{}", "/proc/1/root/{}"])
def test_a_mount_whose_target_is_a_link_of_the_image_stays_in_the_root(
    either: Container, outside: Path, link: str
) -> None:
    """CVE-2021-30465."""
    (either.bundle / "rootfs/t").symlink_to(link.format(outside))
    either.spec["mounts"] += [
        {"destination": "/t/below", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/t/made", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/t/bound", "type": "bind", "source": "/usr/share", "options": ["rbind", "ro"]},
    ]
    either.sh("echo x >/t/below/x; echo x >/t/x").run(check=False)
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("name", ["null", "console"])
def test_masks_and_the_console_are_not_what_the_image_says(ours: Container, outside: Path, name: str) -> None:
    """CVE-2025-31133 and 52565: the image's /dev/null and /dev/console lead to a file of the host's or of /proc."""
    root = ours.bundle / "rootfs"
    ours.spec["mounts"] = [row for row in ours.spec["mounts"] if not row["destination"].startswith("/dev")]
    for target in (f"{outside}/secret", "/proc/sysrq-trigger", "/etc/hostile"):
        (root / "etc").mkdir(exist_ok=True)
        (root / "etc/hostile").write_text("shown")
        (root / "hidden").write_text("hidden")
        (root / "dev").mkdir(exist_ok=True)
        (root / "dev" / name).unlink(missing_ok=True)
        (root / "dev" / name).symlink_to(target)
        ours.spec["linux"]["maskedPaths"] = ["/hidden", "/proc/kcore"]
        done = ours.sh("cat /hidden /proc/kcore; echo x >/hidden").run(check=False)
        assert "hidden" not in done.stdout and "shown" not in done.stdout and SECRET not in done.stdout
        assert (root / "etc/hostile").read_text() == "shown"
        ours.remove()


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_sysctl_is_not_written_to_what_lies_at_proc(ours: Container, tmp_path: Path, kind: str) -> None:
    """CVE-2025-52881: what is mounted at /proc is a file system of the attacker's."""
    (fake := tmp_path / "fake/sys/net/ipv4").mkdir(parents=True)
    (fake / "ip_forward").write_text("kept")
    mount = {"destination": "/proc", "type": kind, "source": str(tmp_path / "fake"), "options": ["rbind"]}
    if kind == "tmpfs":
        mount = {"destination": "/proc", "type": "tmpfs", "source": "tmpfs", "options": ["mode=777"]}
    ours.spec["mounts"][0] = mount
    ours.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    ours.spec["process"]["oomScoreAdj"] = 500
    ours.args("/bin/true").run(check=False)
    assert (fake / "ip_forward").read_text() == "kept"


@pytest.mark.parametrize(
    "key", ["net/../kernel/printk_ratelimit_burst", "net/ipv4/../../kernel/printk_ratelimit_burst"]
)
def test_a_sysctl_s_name_does_not_lead_to_one_of_the_host(ours: Container, key: str) -> None:
    host = Path("/proc/sys/kernel/printk_ratelimit_burst")
    before = host.read_text()
    ours.spec["linux"]["sysctl"] = {key: str(int(before) + 1)}
    done = ours.sh("true").run(check=False)
    assert done.returncode != 0 and "linux.sysctl" in done.stderr and "no setting" in done.stderr
    assert host.read_text() == before


def test_a_filter_that_refuses_the_end_leaves_nothing_that_spins(ours: Container) -> None:
    ours.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO"}
    assert ours.sh("true").run(check=False).returncode != 0


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_a_root_whose_proc_sys_or_dev_is_a_link_stays_in_itself(either: Container, outside: Path, name: str) -> None:
    """CVE-2023-28642: masks that are for /proc would be elsewhere."""
    place = either.bundle / "rootfs" / name
    if place.is_dir():
        os.rmdir(place)
    place.symlink_to(outside)
    either.spec["linux"]["maskedPaths"] = ["/proc/kcore"]
    either.sh("cat /proc/kcore | head -c 1 | wc -c").run(check=False)
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()


def test_a_process_that_joins_shows_nothing_of_the_host(ours: Container) -> None:
    """CVE-2016-9962: whoever may trace looks at each process that comes, from its first moment on."""
    holds(ours, "CAP_SYS_PTRACE")
    look = "while :; do for at in /proc/[0-9]*/cwd /proc/[0-9]*/exe /proc/[0-9]*/fd/*; do readlink $at; done; done"
    ours.sh(f"({look}) >/seen 2>/dev/null").begin()
    for _ in range(40):
        ours.exec("true")
    seen = set((ours.bundle / "rootfs/seen").read_text().splitlines())
    hidden = (str(ours.scratch / "state"), str(ours.bundle), "launcher", "memfd:")
    assert "/bin/busybox" in seen
    assert not [path for path in seen if any(word in path for word in hidden)]


def test_no_hierarchy_of_control_groups_can_be_changed(ours: Container) -> None:
    """CVE-2022-0492: a release agent is a program of the host's."""
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "ro"]}
    ours.spec["mounts"].append(mount)
    ours.spec["linux"]["namespaces"].append({"type": "cgroup"})
    script = """
        for file in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release -o -name cgroup.procs); do
            echo $$ 2>/dev/null >$file && echo $file
        done
        mkdir /tmp; mount -t cgroup -o memory cgroup /tmp 2>/dev/null && echo mounted
        mkdir /sys/fs/cgroup/new /sys/fs/cgroup/*/new 2>/dev/null && echo made
        true
    """
    assert ours.output(script) == ""


def test_nothing_in_the_root_is_taken_for_a_spec(either: Container) -> None:
    """CVE-2022-23648: a config.json of the image's, and labels, grant nothing."""
    hostile = {"mounts": [{"destination": "/t", "type": "bind", "source": "/", "options": ["rbind"]}]}
    (either.bundle / "rootfs/config.json").write_text(json.dumps(hostile))
    assert either.output("ls /t 2>/dev/null; echo none") == "none\n"
