"""linux.devices beside a user namespace, in which nobody may make a node."""

from __future__ import annotations

import pytest

from tests.support.oci import Container

ZERO = {"type": "c", "major": 1, "minor": 5}


@pytest.fixture
def mapped(ours: Container) -> Container:
    """A container with a user namespace. (crun makes such nodes, too; runc shows only what the host has.)"""
    ours.spec["linux"]["namespaces"].append({"type": "user"})
    ours.map_users()
    return ours


def test_a_device_that_the_host_has_not_is_made_for_a_user_namespace(mapped: Container) -> None:
    mapped.spec["linux"]["devices"] = [
        {**ZERO, "path": "/dev/first", "uid": 10, "gid": 11, "fileMode": 0o157},
        {**ZERO, "path": "/dev/below/second", "minor": 3},
        {**ZERO, "path": "/dev/zero"},
    ]
    shown = mapped.output(
        "stat -c '%F %t:%T %u:%g %a' /dev/first /dev/below/second; head -c 2 /dev/first | od -An -tx1; "
        "echo gone >/dev/below/second && grep -c first /proc/mounts; ls /dev | tr '\\n' ' '"
    )
    first, second, read, mounts, names = shown.splitlines()
    assert first == "character special file 1:5 10:11 157"
    assert second.startswith("character special file 1:3 0:0 ")
    assert (read.split(), mounts) == (["00", "00"], "1")
    assert {"first", "below", "null", "zero"} <= set(names.split())


def test_the_owner_of_such_a_device_has_to_be_mapped(mapped: Container) -> None:
    mapped.spec["linux"]["devices"] = [{**ZERO, "path": "/dev/first", "uid": 70_000}]
    assert mapped.create(check=False).returncode == 1
    assert mapped.errors()[0].startswith("linux.devices")


def test_a_slash_at_the_end_of_a_devices_path_changes_nothing(ours: Container) -> None:
    """runc and newer versions of crun take it as well."""
    ours.spec["linux"]["devices"] = [{**ZERO, "path": "/node/"}]
    assert ours.output("stat -c '%F %t:%T' /node").strip() == "character special file 1:5"


def test_of_two_devices_with_one_path_the_first_is_there(container: Container) -> None:
    rows = [{"path": "/dev/x", "type": "c", "major": 1, "minor": minor} for minor in (3, 5)]
    container.spec["linux"]["devices"] = rows
    assert container.output("stat -c %t:%T /dev/x") == "1:3\n"


def test_a_node_that_every_container_has_is_the_bundles_where_that_lists_it(container: Container) -> None:
    container.spec["linux"]["devices"] = [{"path": "/dev/full", "type": "c", "major": 1, "minor": 5, "fileMode": 0o644}]
    assert "1,   5" in container.output("ls -l /dev/full")
