"""config.json by runtime-spec's config.md and config-linux.md: what the kernel shows inside, for each runtime alike."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Container


def mounts_of(container: Container, target: str, script: str = "true") -> list[str]:
    """The last mountinfo line of a target, split into words."""
    lines = [line.split() for line in container.output(f"{script}; cat /proc/self/mountinfo").splitlines()]
    return next(words for words in reversed(lines) if len(words) > 4 and words[4] == target)


def shared_tree(container: Container) -> Path:
    """A directory of the host with a file in it."""
    path = container.scratch / "tree"
    path.mkdir()
    (path / "file").write_text("content\n")
    return path


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
    ],
)
def test_an_option_of_a_bind_shows_in_the_mount(container: Container, option: str, shown: str) -> None:
    tree = shared_tree(container)
    container.spec["mounts"].append(
        {"destination": "/tree", "type": "bind", "source": str(tree), "options": ["rbind", option]}
    )
    assert shown in mounts_of(container, "/tree")[5].split(",")


def test_a_new_network_namespace_has_its_loopback_up(container: Container) -> None:
    """The specification is silent; runc and crun do it."""
    container.spec["linux"]["namespaces"] = [
        row for row in container.spec["linux"]["namespaces"] if row["type"] != "network"
    ] + [{"type": "network"}]
    assert container.output("nc -l -p 9 -e true & sleep 0.1; nc -w 5 127.0.0.1 9 && echo reached") == "reached\n"


@pytest.mark.parametrize("option", ["private", "rprivate", "slave", "rslave", "shared", "rshared"])
def test_the_propagation_of_a_bind_shows_in_the_mount(container: Container, option: str) -> None:
    tree = shared_tree(container)
    container.spec["mounts"].append(
        {"destination": "/tree", "type": "bind", "source": str(tree), "options": ["rbind", option]}
    )
    tags = [word for word in mounts_of(container, "/tree") if ":" in word and not word[0].isdigit()]
    if container.runtime != "crun" or "shared" not in option:  # Debian's leaves it private
        assert any(tag.startswith("shared:") for tag in tags) == ("shared" in option), tags


def test_a_read_only_option_of_the_tree_reaches_the_mounts_below(ours: Container) -> None:
    tree = shared_tree(ours)
    (tree / "below").mkdir()
    ours.spec["mounts"] += [
        {"destination": "/tree", "type": "bind", "source": str(tree), "options": ["rbind", "rro", "rnosuid"]},
    ]
    script = f"mount -t tmpfs tmpfs {tree}/below && {' '.join(ours.argv())}"
    ours.sh("cat /proc/self/mountinfo").write()
    words = ours.argv("run", "--bundle", str(ours.bundle), ours.id)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'mount -t tmpfs tmpfs {tree}/below; exec "$@"', script, *words],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    below = next(line.split() for line in done.stdout.splitlines() if " /tree/below " in line)
    assert {"ro", "nosuid"} <= set(below[5].split(","))


def test_a_tmpfs_has_the_size_and_mode_that_were_asked_for(container: Container) -> None:
    container.spec["mounts"].append(
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k", "mode=1711"]}
    )
    words = mounts_of(container, "/t", "stat -c %a /t")
    assert "size=64k" in words[-1] and "mode=1711" in words[-1]


@pytest.mark.parametrize("readonly", [True, False])
def test_the_root_is_read_only_if_asked(container: Container, readonly: bool) -> None:
    container.spec["root"]["readonly"] = readonly
    assert (container.sh("touch /new").run(check=False).returncode != 0) == readonly


def test_masked_and_read_only_paths(container: Container) -> None:
    container.spec["linux"].update(maskedPaths=["/proc/keys", "/sys/firmware"], readonlyPaths=["/proc/sys"])
    shown = container.output("wc -c </proc/keys; ls /sys/firmware | wc -l; grep -c ' /proc/sys .*ro,' /proc/mounts")
    assert shown.split()[:2] == ["0", "0"]
    assert container.sh("echo x >/proc/sys/kernel/hostname").run(check=False).returncode != 0


def test_the_default_devices_and_links_are_there(container: Container) -> None:
    shown = container.output(
        "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T' /dev/$d; done; "
        "for l in fd ptmx; do readlink /dev/$l; done"
    )
    assert "/dev/null character special file 1:3" in shown and "/proc/self/fd" in shown


def test_a_device_is_made_and_can_only_be_opened_if_allowed(container: Container) -> None:
    linux = container.spec["linux"]
    linux["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o644, "uid": 3, "gid": 4},
        {"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666},
    ]
    shown = container.output(
        "stat -c '%t:%T %a %u %g' /dev/mine; head -c1 /dev/mine | wc -c; head -c1 /dev/kmsg2; true"
    )
    assert shown.split() == ["1:5", "644", "3", "4", "1"]


def test_a_ptmx_of_the_hosts_is_not_made(container: Container) -> None:
    container.spec["linux"]["devices"] = [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]
    assert container.output("readlink /dev/ptmx") == "pts/ptmx\n"


def test_nothing_is_made_below_dev_where_a_directory_is_bound(container: Container, tmp_path: Path) -> None:
    bound = tmp_path / "bound"
    bound.mkdir()
    os.mknod(bound / "null", 0o020666, os.makedev(1, 3))  # others open it for the masks
    mounts = [mount for mount in container.spec["mounts"] if not mount["destination"].startswith("/dev")]
    here = {"destination": "/dev", "type": "bind", "source": str(bound), "options": ["bind"]}
    container.spec["mounts"] = [*mounts, here]
    container.spec["linux"]["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5}]
    assert container.output("ls /dev") == "null\n"
    assert list(bound.iterdir()) == [bound / "null"]


def test_limits_reach_the_cgroup_and_can_be_changed(container: Container) -> None:
    container.spec["linux"]["resources"] |= {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 10},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 33},
    }
    container.begin()
    path = f"/twinhull-test/{container.id}"
    files = {
        "memory/memory.limit_in_bytes": str(64 << 20),
        "memory/memory.soft_limit_in_bytes": str(32 << 20),
        "memory/memory.swappiness": "10",
        "cpu/cpu.shares": "512",
        "cpu/cpu.cfs_quota_us": "50000",
        "cpuset/cpuset.cpus": "0",
        "pids/pids.max": "33",
    }
    read = {name: cgroup_file(name, path) for name in files}
    assert read == files
    container.do("update", "--resources", "-", container.id, stdin=json.dumps({"memory": {"limit": 96 << 20}}))
    container.do("update", "--pids-limit", "44", container.id)
    assert cgroup_file("memory/memory.limit_in_bytes", path) == str(96 << 20)
    assert cgroup_file("pids/pids.max", path) == "44"
    stats = json.loads(container.do("events", "--stats", container.id).stdout) if container.runtime != "crun" else None
    assert stats is None or stats["data"]["pids"]["limit"] == 44


def cgroup_file(name: str, path: str) -> str:
    controller, _, file = name.partition("/")
    return Path(f"/sys/fs/cgroup/{controller}{path}/{file}").read_text().strip()


def test_the_cgroups_are_gone_after_delete(container: Container) -> None:
    container.sh("true").run()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/twinhull-test/{container.id}"))


def test_identity_limits_and_scores_of_the_process(container: Container) -> None:
    container.spec["process"] |= {
        "user": {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o27},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        "oomScoreAdj": 111,
        "cwd": "/tmp",
        "env": ["PATH=/bin", "A=b c"],
    }
    shown = container.output("id; umask; ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; pwd; echo $A")
    assert re.sub("8,9,10", "9,10", shown).splitlines() == [
        "uid=7 gid=8 groups=9,10",
        "0027",
        "100",
        "200",
        "111",
        "/tmp",
        "b c",
    ]


def test_capabilities_in_all_five_sets(container: Container) -> None:
    names = ["CAP_KILL", "CAP_NET_RAW"]
    container.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
    container.spec["process"]["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted", "inheritable", "ambient"), names
    )
    bits = f"{1 << 5 | 1 << 13:016x}"
    shown = dict(line.split(":\t") for line in container.output("grep ^Cap /proc/self/status").splitlines())
    assert shown == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), bits)


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(container: Container, wanted: bool) -> None:
    container.spec["process"]["noNewPrivileges"] = wanted
    assert container.output("grep NoNewPrivs /proc/self/status").split()[1] == str(int(wanted))


def test_an_unknown_capability_is_a_warning(ours: Container) -> None:
    ours.spec["process"]["capabilities"]["bounding"] = ["CAP_KILL", "CAP_FLY"]
    assert "CAP_FLY" in ours.sh("true").run().stderr


@pytest.mark.skipif(not Path("/sys/fs/cgroup/memory").exists(), reason="a limit of cgroup v1")
def test_a_limit_that_the_kernel_takes_and_passes_over_is_a_warning(ours: Container) -> None:
    ours.spec["linux"]["resources"] = {"memory": {"limit": 64 << 20, "kernel": 16 << 20, "kernelTCP": 16 << 20}}
    assert ours.sh("true").run().stderr.startswith("warning: linux.resources.memory.kernel: not enforced")


def seccomp(action: str, **more: Any) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": action, **more}],
    }


@pytest.mark.parametrize("privileges", [True, False])
def test_seccomp_answers_with_the_errno_that_was_asked_for(container: Container, privileges: bool) -> None:
    container.spec["process"]["noNewPrivileges"] = not privileges
    container.spec["linux"]["seccomp"] = seccomp("SCMP_ACT_ERRNO", errnoRet=28)
    assert "No space left" in container.sh("mkdir /x 2>&1; true").run().stdout


def test_seccomp_kills_and_compares_arguments(container: Container) -> None:
    container.spec["linux"]["seccomp"] = seccomp("SCMP_ACT_KILL_PROCESS")
    assert container.sh("mkdir /x; echo $?").run().stdout.strip() == "159"
    rule = {"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}
    container.spec["linux"]["seccomp"] = seccomp("SCMP_ACT_ERRNO", args=[rule])
    assert container.sh("mkdir -m 700 /y 2>&1; mkdir -m 755 /z && echo made").run().stdout.endswith("made\n")


def test_hooks_of_all_kinds_run_in_order_and_read_the_state(container: Container) -> None:
    order = container.scratch / "order"
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    container.spec["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{order}.{kind}; echo {kind} >>{order}"]}]
        for kind in kinds
    }
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/startContainer"], "env": ["PATH=/bin"]}
    container.spec["hooks"]["startContainer"] = [inside]
    pid = container.begin().state()["pid"]
    container.do("delete", "--force", container.id)
    assert order.read_text().split() == list(kinds)
    for kind in kinds:
        state = json.loads(Path(f"{order}.{kind}").read_text())
        assert state["id"] == container.id and state["bundle"] == str(container.bundle), state
    assert json.loads(Path(f"{order}.createRuntime").read_text())["pid"] == pid
    assert json.loads((container.bundle / "rootfs/startContainer").read_text())["id"] == container.id


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_fails_create(container: Container, kind: str) -> None:
    container.spec["hooks"] = {kind: [{"path": "/bin/false"}]}
    assert container.create(check=False).returncode != 0
    assert container.do("state", container.id, check=False).returncode != 0, "nothing is left"


def test_a_hook_that_takes_too_long_fails(ours: Container) -> None:
    for kind in ("createRuntime", "createContainer"):
        ours.spec["hooks"] = {kind: [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}
        assert ours.create(check=False).returncode == 1
    for said, kind in zip(ours.errors(), ("createRuntime", "createContainer"), strict=True):
        assert f"hooks.{kind}[0]: " in said and "/bin/sleep did not end within 1 s" in said


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid"])
def test_a_namespace_is_joined_by_its_path(container: Container, kind: str) -> None:
    flag = {"network": "-n", "ipc": "-i", "uts": "-u", "pid": "-pf"}[kind]
    name = {"network": "net"}.get(kind, kind)
    with subprocess.Popen(["unshare", flag, "sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        child = int(Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text().split()[0])
        path = f"/proc/{child}/ns/{name}"
        expected = os.readlink(path)
        for row in container.spec["linux"]["namespaces"]:
            if row["type"] == kind:
                row["path"] = path
        if kind == "uts":
            container.spec.pop("hostname")
        try:
            container.create()
            assert os.readlink(f"/proc/{container.state()['pid']}/ns/{name}") == expected
            container.remove()
        finally:
            subprocess.run(["kill", "-KILL", str(child), str(other.pid)], check=False)


def in_user_namespace(container: Container) -> Container:
    linux = container.spec["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    for path in (container.bundle / "rootfs", *(container.bundle / "rootfs").iterdir()):
        os.lchown(path, 100_000, 100_000)
    for path in (container.scratch, *container.scratch.parents):
        if path.is_relative_to("/tmp"):
            path.chmod(0o755) if path != Path("/tmp") else None
    return container


def test_a_user_namespace_has_its_maps_and_owns_the_others(container: Container) -> None:
    in_user_namespace(container)
    shown = container.output("cat /proc/self/uid_map; id -u; touch /new")
    assert shown.split() == ["0", "100000", "65536", "0"]
    assert (container.bundle / "rootfs/new").stat().st_uid == 100_000


def test_exec_enters_the_user_namespace(container: Container) -> None:
    in_user_namespace(container).begin()
    assert container.exec("cat", "/proc/self/uid_map").stdout.split() == ["0", "100000", "65536"]


def test_time_offsets(ours: Container) -> None:
    ours.spec["linux"]["namespaces"].append({"type": "time"})
    ours.spec["linux"]["timeOffsets"] = {"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 2}}
    assert float(ours.output("cat /proc/uptime").split()[0]) > 1_000_000


def test_sysctls_are_set_and_those_of_the_host_are_refused(container: Container) -> None:
    container.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}
    assert container.output("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax").split() == ["1", "9000"]
    container.spec["linux"]["sysctl"] = {"kernel.panic": "1"}
    assert container.sh("true").run(check=False).returncode != 0


def test_scheduler_io_priority_personality_and_domain_name(ours: Container) -> None:
    ours.spec["domainname"] = "example.org"
    ours.spec["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    ours.spec["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    ours.spec["linux"]["personality"] = {"domain": "LINUX32"}
    shown = ours.output("cat /proc/sys/kernel/domainname; uname -m; cut -d' ' -f19,41 /proc/self/stat; ionice -p $$")
    assert shown.split("\n")[:4] == ["example.org", "i686", "5 3", "best-effort: prio 6"]


@pytest.mark.parametrize(("spread", "tag"), [("shared", "shared:"), ("rslave", ""), ("private", "")])
def test_the_propagation_of_the_root(container: Container, spread: str, tag: str) -> None:
    container.spec["linux"]["rootfsPropagation"] = spread
    words = mounts_of(container, "/")
    if container.runtime == "runc" and tag:
        pytest.skip("Debian's runc leaves the root private")
    assert any(word.startswith("shared:") for word in words) == bool(tag)


def test_an_idmapped_bind_shows_other_owners(ours: Container) -> None:
    tree = shared_tree(ours)
    maps = [{"containerID": 0, "hostID": 5000, "size": 1000}]
    ours.spec["mounts"].append(
        {
            "destination": "/tree",
            "type": "bind",
            "source": str(tree),
            "options": ["bind"],
            "uidMappings": maps,
            "gidMappings": maps,
        }
    )
    assert ours.output("stat -c %u:%g /tree/file").strip() == "5000:5000"


def test_the_cgroup_mount_shows_the_containers_own(container: Container) -> None:
    container.spec["linux"]["namespaces"].append({"type": "cgroup"})
    container.spec["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec"]}
    )
    assert (
        container.output("cat /sys/fs/cgroup/pids/cgroup.procs | wc -l; cut -d: -f3 /proc/self/cgroup").split()[1]
        == "/"
    )
