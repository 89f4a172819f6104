"""A value that cannot be is an error of `twinhull-oci create` that names its field, and nothing is left of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.oci import Container

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("linux", {"rootfsPropagation": "sideways"}, "linux.rootfsPropagation"),
    ("linux", {"namespaces": [{"type": "mount"}, {"type": "dream"}]}, "linux.namespaces[1].type"),
    ("linux", {"namespaces": [{"type": "pid"}]}, "linux.namespaces"),
    ("linux", {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}, "linux.uidMappings"),
    ("linux", {"timeOffsets": {"boottime": {"secs": 1}}}, "linux.timeOffsets"),
    ("linux", {"seccomp": {"defaultAction": "SCMP_ACT_SING"}}, "linux.seccomp.defaultAction"),
    ("linux", {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}}, "linux.seccomp.listenerPath"),
    ("linux", {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}}, "linux.seccomp.flags"),
    ("linux", {"personality": {"domain": "BSD"}}, "linux.personality.domain"),
    ("linux", {"intelRdt": {"closID": "x"}}, "linux.intelRdt"),
    ("linux", {"devices": [{"path": "/dev/x", "type": "z"}]}, "linux.devices[0].type"),
    ("linux", {"cgroupsPath": "system.slice:a:b"}, "linux.cgroupsPath"),
    ("linux", {"cgroupsPath": "/../x"}, "linux.cgroupsPath"),
    ("linux", {"resources": {"memory": {"limit": 2048, "swap": 1024}}}, "linux.resources.memory.swap"),
    ("linux", {"resources": {"unified": {"a/b": "1"}}}, "linux.resources.unified"),
    ("process", {"cwd": "relative"}, "process.cwd"),
    ("process", {"args": []}, "process.args"),
    ("process", {"oomScoreAdj": 2000}, "process.oomScoreAdj"),
    ("process", {"scheduler": {"policy": "SCHED_NEVER"}}, "process.scheduler.policy"),
    ("process", {"ioPriority": {"class": "FIRST"}}, "process.ioPriority.class"),
    ("process", {"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}, "process.rlimits"),
    ("root", {"path": "nowhere"}, "root.path"),
    ("hooks", {"createContainer": [{"path": "relative"}]}, "hooks.createContainer[0].path"),
    ("hooks", {"createContainer": [{"path": "/bin/true", "timeout": 0}]}, "hooks.createContainer[0].timeout"),
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
        ({"destination": "/", "type": "tmpfs"}, "mounts[4].destination"),
        ({"destination": "/t", "type": "bind"}, "mounts[4].source"),
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
