"""Mounts whose order, place or mode depend on what the root has: as runc makes them."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.oci.test_runtime_joins import mapped
from tests.support.oci import OUTER, Container


def bind(source: Path | str, target: Path | str, *options: str) -> dict[str, object]:
    """An entry of `mounts`."""
    return {"destination": str(target), "type": "bind", "source": str(source), "options": list(options or ("rbind",))}


def tree(container: Container) -> Path:
    """A directory of the host, which only its owner may enter, with two in it."""
    path = container.scratch / "tree"
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        (path / name / "file").write_text(f"{name}\n")
    (path / "a/below").mkdir()
    return path


@pytest.mark.parametrize("own_users", [False, True])
def test_a_bind_of_the_root_has_what_entries_before_it_mounted(container: Container, own_users: bool) -> None:
    """Also where the root is written as the host sees it, in a source and in a destination."""
    if own_users and not container.ours:
        pytest.skip("Debian's runc and crun look for the source as the container's user")
    if own_users:
        container.spec["linux"]["namespaces"].append({"type": "user"})
        mapped(container)
    there, root = tree(container), container.bundle / "rootfs"
    for name in ("mnt", "final"):
        (root / name).mkdir()
    container.spec["mounts"] += [
        bind(there / "a", "/mnt"),
        bind(there / "b", "/mnt/below"),
        bind(root / "mnt", "/final" if container.runtime == "crun" else root / "final"),
    ]
    there.chmod(0o700)
    assert container.output("cat /final/file /final/below/file") == "a\nb\n"


@pytest.mark.parametrize(("own_users", "first", "shown"), [(False, 1000, 1000), (True, OUTER + 7, 7), (True, 0, 0)])
def test_a_bind_of_the_root_through_maps_has_what_was_mounted_before(
    ours: Container, own_users: bool, first: int, shown: int
) -> None:
    """Maps of its own or, without any, those of the user namespace; below the source it is as it was."""
    if own_users:
        ours.spec["linux"]["namespaces"].append({"type": "user"})
        mapped(ours)
    there, root = tree(ours), ours.bundle / "rootfs"
    maps = [{"containerID": 0, "hostID": first, "size": 10}] if first else []
    seen = {**bind(root / "mnt", "/final", "rbind", "idmap"), "uidMappings": maps, "gidMappings": maps}
    ours.spec["mounts"] += [bind(there / "a", "/mnt"), bind(there / "b", "/mnt/below"), seen]
    ours.spec["process"]["capabilities"] = {}
    there.chmod(0o700)
    below = 65534 if own_users else 0
    output = "cat /final/file /final/below/file; stat -c %u /final/file /final/below/file"
    assert ours.output(output) == f"a\nb\n{shown}\n{below}\n"


@pytest.mark.parametrize("word", ["copy", "nocopy", "nofail"])
def test_what_others_did_with_a_volume_is_no_option_of_the_mount(container: Container, word: str) -> None:
    container.spec["mounts"].append(bind(tree(container), "/mnt", "rbind", word, "ro"))
    assert container.output("cat /mnt/a/file; touch /mnt/x 2>/dev/null || echo no") == "a\nno\n"


def test_a_tmpfs_has_the_mode_of_the_directory_that_it_covers(ours: Container) -> None:
    """As with runc; crun gives it 1777."""
    (ours.bundle / "rootfs/covered").mkdir()
    (ours.bundle / "rootfs/covered").chmod(0o2710)
    for target in ("/covered", "/new"):
        ours.spec["mounts"].append({"destination": target, "type": "tmpfs", "source": "tmpfs"})
    assert ours.output("stat -c %a /covered /new; grep -c mode=2710 /proc/mounts").split() == ["2710", "1777", "1"]


def test_a_remount_gives_the_file_system_its_options(container: Container) -> None:
    container.spec["mounts"] += [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["remount", "hidepid=2"]},
        {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
        {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro", "size=2m"]},
    ]
    shown = container.output("grep -E '^[a-z]+ /(proc|mnt) ' /proc/mounts")
    assert "hidepid=" in shown
    assert "size=2048k" in shown
    assert "tmpfs /mnt tmpfs ro," in shown


def test_dev_is_remounted_read_only_after_its_nodes(container: Container) -> None:
    closed = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro"]}
    container.spec["mounts"].append(closed)
    shown = container.output("test -c /dev/null && grep -E ' /dev ' /proc/mounts")
    assert shown.startswith("tmpfs /dev tmpfs ro,")


def test_a_read_only_dev_has_the_terminal(container: Container) -> None:
    dev = next(mount for mount in container.spec["mounts"] if mount["destination"] == "/dev")
    dev["options"].append("ro")
    container.spec["process"]["terminal"] = True
    container.sh("touch /dev/x 2>/dev/null || stat -c %F /dev/console").write()
    master, slave = pty.openpty()
    words = container.argv("run", "--bundle", str(container.bundle), container.id)
    done = subprocess.run(words, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    os.close(master)
    os.close(slave)
    assert done.stdout.replace("\r", "") == "character special file\n"


def test_proc_is_not_mounted_where_the_root_has_a_link(container: Container) -> None:
    root = container.bundle / "rootfs"
    (root / "elsewhere").mkdir()
    (root / "proc").symlink_to("elsewhere")
    assert container.sh("true").run(check=False).returncode != 0
    assert not container.ours or "must be mounted on ordinary directory" in container.errors()[0]


def test_a_time_namespace_with_offsets_belongs_to_a_user_namespace(ours: Container) -> None:
    ours.spec["linux"]["namespaces"] += [{"type": "time"}, {"type": "user"}]
    ours.spec["linux"]["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    mapped(ours).begin()
    uptime = ours.exec("cat", "/proc/uptime").stdout.split()[0]
    assert float(uptime) > 1_000_000
    pid = ours.state()["pid"]
    assert os.readlink(f"/proc/{pid}/ns/time") != os.readlink("/proc/self/ns/time")
    ours.remove()
