"""A value that cannot be is an error of `twinhull-oci create` that names its field, and nothing is left of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Container

ASKS = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("linux", {"rootfsPropagation": "sideways"}, "linux.rootfsPropagation"),
    ("linux", {"namespaces": [{"type": "mount"}, {"type": "dream"}]}, "linux.namespaces[1].type"),
    ("linux", {"namespaces": [{"type": "pid"}]}, "hostname: there is no uts namespace"),
    ("linux", {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}, "linux.uidMappings"),
    ("linux", {"timeOffsets": {"boottime": {"secs": 1}}}, "linux.timeOffsets"),
    ("linux", {"seccomp": {"defaultAction": "SCMP_ACT_SING"}}, "linux.seccomp.defaultAction"),
    ("linux", {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}}, "linux.seccomp.defaultAction"),
    ("linux", {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ASKS}}, "linux.seccomp.listenerPath"),
    ("linux", {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}}, "linux.seccomp.flags"),
    ("linux", {"personality": {"domain": "BSD"}}, "linux.personality.domain"),
    ("linux", {"intelRdt": {"closID": "x"}}, "linux.intelRdt"),
    ("linux", {"devices": [{"path": "/dev/x", "type": "z"}]}, "linux.devices[0].type"),
    ("linux", {"devices": [{"path": "/dev/x", "type": "c", "major": 4096, "minor": 1}]}, "linux.devices[0].major"),
    ("linux", {"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 1 << 20}]}, "linux.devices[0].minor"),
    ("linux", {"maskedPaths": ["/proc/kcore", "/."]}, "linux.maskedPaths[1]"),
    ("linux", {"sysctl": {"kernel.hostname": "x"}}, "linux.sysctl"),
    ("linux", {"sysctl": {"net/../kernel/printk_ratelimit_burst": "10"}}, "linux.sysctl"),
    ("linux", {"sysctl": {"net.ipv4/../../kernel/printk_ratelimit_burst": "10"}}, "linux.sysctl"),
    ("linux", {"cgroupsPath": "system.slice:a:b"}, "linux.cgroupsPath"),
    ("linux", {"cgroupsPath": "/../x"}, "linux.cgroupsPath"),
    ("linux", {"cgroupsPath": "/"}, "linux.cgroupsPath: '/' is the machine's"),
    ("linux", {"cgroupsPath": "/./"}, "linux.cgroupsPath: '/./' is the machine's"),
    ("linux", {"resources": {"memory": {"limit": 2048, "swap": 1024}}}, "linux.resources.memory.swap"),
    ("linux", {"resources": {"unified": {"a/b": "1"}}}, "linux.resources.unified"),
    ("process", {"user": {"uid": 2**32 - 1, "gid": 0}}, "process.user.uid"),
    ("linux", {"resources": {"unified": {"cgroup.procs": "1"}}}, "linux.resources.unified"),
    ("process", {"cwd": "relative"}, "process.cwd"),
    ("process", {"args": []}, "process.args"),
    ("process", {"oomScoreAdj": 2000}, "process.oomScoreAdj"),
    ("process", {"scheduler": {"nice": 3}}, "process.scheduler.policy"),
    ("process", {"user": {"uid": 0, "gid": 0, "umask": 65536}}, "process.user.umask"),
    ("process", {"consoleSize": {"height": 70_000, "width": 80}}, "process.consoleSize.height"),
    (
        "linux",
        {"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 65536}]},
        "linux.devices[0].fileMode",
    ),
    ("process", {"scheduler": {"policy": "SCHED_NEVER"}}, "process.scheduler.policy"),
    ("process", {"scheduler": {"policy": "SCHED_OTHER", "nice": 100}}, "process.scheduler.nice"),
    ("process", {"scheduler": {"policy": "SCHED_BATCH", "priority": 5}}, "process.scheduler.priority"),
    ("process", {"scheduler": {"policy": "SCHED_RR", "priority": 5, "period": 9}}, "process.scheduler.period"),
    ("process", {"user": {"uid": 0, "gid": 0, "additionalGids": [*range(70_000)]}}, "process.user.additionalGids"),
    ("linux", {"resources": {"memory": {"limit": 1}}}, "linux.resources.memory.limit"),
    (
        "linux",
        {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}},
        "linux.seccomp.defaultErrnoRet",
    ),
    (
        "linux",
        {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/none", "syscalls": ASKS}},
        "linux.seccomp.listenerPath: /none: No such file",
    ),
    (
        "linux",
        {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70_000}],
            }
        },
        "linux.seccomp.syscalls[0].errnoRet",
    ),
    ("process", {"ioPriority": {"class": "FIRST"}}, "process.ioPriority.class"),
    ("process", {"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}, "process.rlimits"),
    ("process", {"rlimits": [{"type": "RLIMIT_DREAMS", "soft": 1, "hard": 1}]}, "process.rlimits"),
    ("process", {"rlimits": [{"type": "RLIMIT_CORE", "soft": "1", "hard": 1}]}, "process.rlimits[0].soft"),
    ("process", {"user": {"uid": 1 << 32, "gid": 0}}, "process.user.uid"),
    (
        "linux",
        {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "ipc", "path": "/proc/self/ns/uts"}]},
        "linux.namespaces[2].path: /proc/self/ns/uts is no ipc namespace",
    ),
    (
        "linux",
        {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "pid", "path": "/etc/hostname"}]},
        "linux.namespaces[2].path: /etc/hostname is no namespace",
    ),
    (
        "linux",
        {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "/nonesuch"}]},
        "linux.namespaces[2].path: /nonesuch: No such file or directory",
    ),
    (
        "linux",
        {"timeOffsets": {"boottime": {"secs": 1000, "nanosecs": 2_000_000_000}}},
        "linux.timeOffsets['boottime'].nanosecs",
    ),
    (
        "hooks",
        {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1}]},
        "hooks.createContainer[0]: error running createContainer hook #0: /bin/sleep did not end within 1 s",
    ),
    (
        "linux",
        {
            "namespaces": [{"type": kind} for kind in ("mount", "uts", "pid", "user")],
            "uidMappings": [{"containerID": 1000, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        },
        "linux.uidMappings: 0 must be mapped",
    ),
    ("process", {"env": "A=b"}, "process.env"),
    ("process", {"env": ["A=", "NOEQ"]}, "process.env[1]: invalid environment variable"),
    ("process", {"env": ["=x"]}, "process.env[0]: invalid environment variable"),
    ("process", {"selinuxLabel": "x"}, "process.selinuxLabel"),
    ("linux", {"maskedPaths": ["relative"]}, "linux.maskedPaths[0]"),
    ("linux", {"sysctl": {"net.ipv4.ip_forward": "x"}}, "linux.sysctl"),
    ("linux", {"resources": {"cpu": {"quota": 5}}}, "linux.resources.cpu"),
    ("root", {"path": "nowhere"}, "root.path"),
    ("hooks", {"createContainer": [{"path": "relative"}]}, "hooks.createContainer[0].path"),
    ("hooks", {"createContainer": [{"path": "/bin/true", "timeout": 0}]}, "hooks.createContainer[0].timeout"),
    ("hooks", {"poststart": [{"path": "relative"}]}, "hooks.poststart[0].path"),
]


@pytest.mark.skipif(not Path("/sys/fs/cgroup/memory").exists(), reason="memory is limited by cgroup v1")
def test_a_file_of_v2_whose_controller_v1_has_is_refused_by_name(ours: Container) -> None:
    ours.spec["linux"]["resources"] = {"unified": {"memory.min": "131072"}}
    failed = ours.create(check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("linux.resources.unified['memory.min']: invalid configuration: ")


RULE = {"allow": True, "type": "c", "major": 5, "minor": 1, "access": "r"}
WRONG_RULES: list[tuple[dict[str, Any], str]] = [({"major": -5}, "major"), ({"minor": -2}, "minor")]
WRONG_RULES += [({"access": access}, "access") for access in ("", None, "rx")]
WRONG += [
    ("linux", {"resources": {"devices": [{**RULE, **change}]}}, f"linux.resources.devices[0].{field}")
    for change, field in WRONG_RULES
]


@pytest.mark.parametrize(("section", "change", "field"), WRONG, ids=[row[2] for row in WRONG])
def test_a_wrong_value_is_an_error_that_names_its_field(
    ours: Container, section: str, change: dict[str, Any], field: str
) -> None:
    ours.spec.setdefault(section, {}).update(change)
    failed = ours.create(check=False)
    assert failed.returncode == 1 and failed.stderr.startswith(field), failed.stderr
    assert not re.search("Traceback|a bug", failed.stderr)
    assert ours.do("state", ours.id, check=False).returncode == 1


@pytest.mark.parametrize(
    ("mount", "field"),
    [
        ({"destination": "/t", "type": "proc", "options": ["tmpcopyup"]}, "mounts[4].options"),
        ({"destination": "/t", "type": "bind", "source": "/tmp", "options": ["bind", "sparkle"]}, "mounts[4].options"),
        (
            {"destination": "/t", "type": "bind", "source": "/tmp", "options": ["bind", "idmap=uids=0-1000-10"]},
            "mounts[4].options",
        ),
        ({"destination": "/", "type": "tmpfs"}, "mounts[4].destination"),
        ({"destination": "/t", "type": "bind"}, "mounts[4].source"),
        ({"destination": "/t", "type": "bind", "source": "/nonesuch"}, "mounts[4].source"),
        ({"destination": "/t", "type": "tmpfs", "options": ["size=banana"]}, "mounts[4]"),
        ({"destination": "/t", "type": "tmpfs", "options": ["nofail"]}, "mounts[4]"),
        ({"destination": "/t", "type": "tmpfs", "options": ["noauto"]}, "mounts[4]"),
        ({"destination": "/t", "source": "/bin", "options": ["bind", "foo=bar"]}, "mounts[4].options"),
        ({"destination": "/t", "type": "bind", "source": "/bin", "options": ["mode=0700"]}, "mounts[4].options"),
        ({"destination": "/t", "type": "bind", "source": "/bin", "options": ["idmap=uids=0-1-1"]}, "mounts[4].options"),
        ({"destination": "/t", "type": "bind", "source": "none"}, "mounts[4].source"),
        ({"destination": "/bin", "type": "tmpfs", "options": ["remount"]}, "mounts[4]"),
        ({"destination": "/proc", "type": "proc", "options": ["remount", "hidepid=banana"]}, "mounts[4]"),
        ({"destination": "/t", "type": "nosuchfs"}, "mounts[4]"),
    ],
)
def test_a_wrong_mount_is_an_error_that_names_its_field(ours: Container, mount: dict[str, Any], field: str) -> None:
    ours.spec["mounts"].append(mount)
    failed = ours.create(check=False)
    assert failed.returncode == 1 and failed.stderr.startswith(field), failed.stderr


def test_another_version_is_refused_and_unknown_properties_are_not(ours: Container) -> None:
    ours.spec["unheard"] = {"of": 1}
    ours.sh("true").run()
    ours.spec["ociVersion"] = "2.0.0"
    assert ours.run(check=False).stderr.startswith("ociVersion")


def test_a_limit_below_what_is_in_use_is_refused_where_the_caller_wants_that(ours: Container) -> None:
    ours.begin()
    limits = ours.scratch / "limits"
    limits.write_text(json.dumps({"memory": {"limit": 4096, "checkBeforeUpdate": True}}))
    failed = ours.do("update", "--resources", str(limits), ours.id, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith("linux.resources.memory.limit: "), failed.stderr
    limits.write_text(json.dumps({"memory": {"limit": "4096"}}))
    failed = ours.do("update", "--resources", str(limits), ours.id, check=False)
    assert failed.stderr.startswith("linux.resources.memory.limit: '4096' is not"), failed.stderr


def test_a_process_of_an_exec_is_looked_at_as_well(ours: Container) -> None:
    ours.begin()
    process = ours.scratch / "process"
    process.write_text(json.dumps({"args": ["true"], "cwd": 5}))
    failed = ours.do("exec", "--process", str(process), ours.id, check=False)
    assert failed.returncode == 255 and failed.stderr.startswith("process.cwd: "), failed.stderr


@pytest.mark.parametrize("group", ["..", "../..", "a/../../b"])
def test_an_exec_does_not_leave_the_group_of_its_container(ours: Container, group: str) -> None:
    ours.begin()
    failed = ours.do("exec", "--cgroup", group, ours.id, "true", check=False)
    assert failed.returncode == 255 and "not below the container's group" in failed.stderr, failed.stderr


def test_a_limit_that_the_kernel_refuses_is_named(ours: Container) -> None:
    ours.spec["process"]["rlimits"] = [
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 << 40},
    ]
    failed = ours.create(check=False)
    assert failed.stderr == "process.rlimits: rlimit NOFILE: Operation not permitted\n"


@pytest.mark.parametrize("option", ["--console-socket", "--pidfd-socket"])
def test_a_socket_without_a_listener_is_named(ours: Container, option: str) -> None:
    ours.spec["process"]["terminal"] = option == "--console-socket"
    failed = ours.create(option, str(ours.scratch / "none"), check=False)
    assert failed.stderr.startswith(f"{option}: ") and ours.do("state", ours.id, check=False).returncode == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [({"apparmorProfile": "none"}, "process.apparmorProfile"), ({"cwd": "/no/such"}, "process.cwd")],
)
def test_what_the_kernel_refuses_of_an_exec_is_named(ours: Container, change: dict[str, Any], field: str) -> None:
    process = ours.begin().scratch / "process"
    process.write_text(json.dumps({**ours.spec["process"], "args": ["true"], **change}))
    failed = ours.do("exec", "--process", str(process), ours.id, check=False)
    assert failed.returncode == 255 and failed.stderr.startswith(f"{field}: "), failed.stderr


def test_an_id_that_no_directory_can_have_is_refused_in_our_words(ours: Container) -> None:
    ours.write()
    failed = ours.do("create", "--bundle", str(ours.bundle), "x" * 300, check=False)
    assert failed.stderr == "invalid container id format: 300 letters, and at most 255 are possible\n"


@pytest.mark.parametrize("text", ["[]", "[" * 100_000])
def test_what_is_no_object_is_said_to_be_that(ours: Container, text: str) -> None:
    ours.write()
    (ours.scratch / "config.json").write_text(text)
    words = ("create", "--config", str(ours.scratch / "config.json"), "--bundle", str(ours.scratch), ours.id)
    failed = ours.do(*words, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith("config.json: it is "), failed.stderr


@pytest.mark.parametrize("option", ["--log-level=foo", "--rootless=foo"])
def test_an_option_with_another_word_than_runcs_is_refused(ours: Container, option: str) -> None:
    failed = ours.do(option, "list", check=False)
    assert failed.returncode == 1 and failed.stderr.startswith(option.partition("=")[0] + ": 'foo' is none of ")


def test_a_flag_of_a_listener_does_nothing_without_one(ours: Container) -> None:
    flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    ours.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": []}
    assert ours.output("echo runs") == "runs\n"


def test_a_pid_file_that_cannot_be_is_named(ours: Container) -> None:
    failed = ours.create("--pid-file", "/nonexist/p", check=False)
    assert failed.returncode == 1 and failed.stderr == "No such file or directory: /nonexist/p\n"
