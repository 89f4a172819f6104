"""twinhull-oci for a user without root: what `spec --rootless` writes is run, in a user namespace of his own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import leaks
from tests.support.oci import TWINHULL_OCI
from tests.support.oci_user import UserContainer


def test_a_bundle_of_spec_rootless_runs(users: UserContainer) -> None:
    done = users.sh("id -u; cat /proc/self/uid_map /proc/self/setgroups; exit 7").run(check=False)
    uid = users.user.account.pw_uid
    assert (done.returncode, done.stdout.split()) == (7, ["0", "0", str(uid), "1", "deny"]), done.stderr


def test_its_process_is_the_users_outside_and_has_namespaces_of_its_own(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").create()
    try:
        pid = mine.state()["pid"]
        assert mine.state()["status"] == "created"
        mine.start()
        assert Path(f"/proc/{pid}").stat().st_uid == mine.user.account.pw_uid
        own = {kind: Path(f"/proc/{pid}/ns/{kind}").readlink() for kind in ("user", "mnt", "pid", "ipc", "uts")}
        assert all(link != Path(f"/proc/self/ns/{kind}").readlink() for kind, link in own.items())
        assert Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    finally:
        mine.remove()


def test_each_verb_of_a_life_works(users: UserContainer) -> None:
    users.args("/bin/sleep", "1000").begin()
    assert users.state()["status"] == "running"
    listed = json.loads(users.do("list", "--format", "json").stdout)
    assert [(row["id"], row["owner"]) for row in listed] == [(users.id, users.user.account.pw_name)]
    assert users.do("delete", users.id, check=False).returncode == 1
    users.do("kill", users.id, "KILL")
    users.await_status("stopped")
    users.do("delete", users.id)
    assert users.do("state", users.id, check=False).returncode == 1


def test_two_run_at_a_time_and_nothing_is_left(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").begin()
    mine.do("run", "--detach", "--bundle", str(mine.bundle), "second")
    assert mine.kept() == sorted([mine.id, "second"])
    mine.do("delete", "--force", "second")
    mine.do("delete", "--force", mine.id)
    assert mine.kept() == []


def test_without_a_user_namespace_it_is_refused(mine: UserContainer) -> None:
    linux = mine.spec["linux"]
    linux["namespaces"] = [row for row in linux["namespaces"] if row["type"] != "user"]
    del linux["uidMappings"], linux["gidMappings"]
    done = mine.sh("true").run(check=False)
    assert done.returncode == 1
    assert "user namespace" in done.stderr


def test_the_users_directories_are_where_the_state_is(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").begin()
    place = mine.runtime_directory / "twinhull-oci" / mine.id
    assert place.stat().st_uid == mine.user.account.pw_uid


def test_without_a_place_for_it_the_error_names_the_variable(mine: UserContainer) -> None:
    done = mine.as_user("env", "-u", "XDG_RUNTIME_DIR", str(TWINHULL_OCI), "list", check=False)
    assert done.returncode == 1
    assert "XDG_RUNTIME_DIR" in done.stderr


def mapped(container: UserContainer, rows: list[tuple[int, int, int]]) -> None:
    """Give the user namespace these rows: inside, outside, how many."""
    keys = ("containerID", "hostID", "size")
    for key in ("uidMappings", "gidMappings"):
        container.spec["linux"][key] = [dict(zip(keys, row, strict=True)) for row in rows]


def numbers(container: UserContainer) -> tuple[int, int]:
    """The user's range of /etc/subuid: the first, and how many."""
    for line in Path("/etc/subuid").read_text().splitlines():
        name, first, size = line.split(":")
        if name == container.user.account.pw_name:
            return int(first), int(size)
    raise AssertionError("no numbers")


@pytest.mark.parametrize("himself", [True, False])
def test_many_numbers_are_mapped_by_newuidmap(mine: UserContainer, *, himself: bool) -> None:
    first, size = numbers(mine)
    uid = mine.user.account.pw_uid
    mapped(mine, [(0, uid, 1), (1, first, size)] if himself else [(0, first, size)])
    (mine.bundle / "rootfs").chmod(0o777)
    mine.spec["process"]["user"] = {"uid": 33, "gid": 34, "additionalGids": [35]}
    done = mine.sh("id -u; id -G; cat /proc/self/uid_map").run()
    words = done.stdout.split()
    assert words[:3] == ["33", "34", "35"]
    expected = [0, uid, 1, 1, first, size] if himself else [0, first, size]
    assert words[3:] == [str(number) for number in expected]


def test_a_file_of_another_number_is_the_users_subordinate_outside(mine: UserContainer) -> None:
    first, size = numbers(mine)
    mapped(mine, [(0, mine.user.account.pw_uid, 1), (1, first, size)])
    for kind in ("bounding", "effective", "permitted"):
        mine.spec["process"]["capabilities"][kind].append("CAP_CHOWN")
    mine.sh("touch /made; chown 33:33 /made; touch /own").run()
    assert (mine.bundle / "rootfs/made").stat().st_uid == first + 32
    assert (mine.bundle / "rootfs/own").stat().st_uid == mine.user.account.pw_uid
    (mine.bundle / "rootfs/made").unlink()


def test_numbers_that_are_not_the_users_are_refused_by_their_field(mine: UserContainer) -> None:
    mapped(mine, [(0, 5, 1000)])
    assert mine.sh("true").run(check=False).returncode == 1
    assert mine.errors() == [f"linux.uidMappings: /etc/subuid does not give {mine.user.account.pw_name} 5 to 1004"]
    assert mine.kept() == []


def test_without_newuidmap_the_error_names_the_package(mine: UserContainer) -> None:
    mapped(mine, [(0, *numbers(mine))])
    mine.around = [f"mount --bind /dev/null {shutil.which('newuidmap')}"]
    assert mine.sh("true").run(check=False).returncode == 1
    assert mine.errors()[0].startswith("linux.uidMappings: newuidmap is not here")
    assert mine.errors()[0].endswith("apt-get install -y uidmap")
    assert mine.kept() == []


def test_a_namespace_without_mappings_has_all_that_the_user_has(users: UserContainer) -> None:
    """As crun has it, whose spec --rootless writes none. Debian's runc wants them."""
    if users.runtime == "runc":
        pytest.skip("runc wants mappings")
    for key in ("uidMappings", "gidMappings"):
        del users.spec["linux"][key]
    first, size = numbers(users)
    uid = users.user.account.pw_uid
    assert users.output("cat /proc/self/uid_map").split() == [str(number) for number in (0, uid, 1, 1, first, size)]


def test_other_groups_need_more_than_the_users_number(users: UserContainer) -> None:
    users.spec["process"]["user"]["additionalGids"] = [5]
    refused = users.sh("true").run(check=False).returncode == 1
    assert refused or users.runtime == "crun"
    if users.ours:
        assert users.errors()[0].startswith("process.user.additionalGids: ")


def test_a_user_namespace_by_its_path_is_joined(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").begin()
    path = f"/proc/{mine.state()['pid']}/ns/user"
    linux = mine.spec["linux"]
    linux["namespaces"] = [row for row in linux["namespaces"] if row["type"] != "user"]
    linux["namespaces"].append({"type": "user", "path": path})
    for key in ("uidMappings", "gidMappings"):
        del linux[key]
    mine.sh("readlink /proc/self/ns/user").write()
    done = mine.do("run", "--bundle", str(mine.bundle), "second")
    assert done.stdout.strip() == str(Path(path).readlink())


def test_exec_is_one_more_process_in_its_namespaces(users: UserContainer) -> None:
    users.args("/bin/sleep", "1000").begin()
    done = users.exec("/bin/sh", "-c", "id -u; echo $$; hostname; exit 5", check=False)
    uid, pid, name = done.stdout.split()
    assert (done.returncode, uid, name) == (5, "0", users.spec["hostname"])
    assert int(pid) > 1
    assert users.exec("/bin/nonesuch", check=False).returncode in (255, 1)


def test_the_processes_are_told_without_a_control_group(mine: UserContainer) -> None:
    mine.sh("sleep 1000 & wait").begin()
    deadline = time.monotonic() + 10
    while len(pids := json.loads(mine.do("ps", "--format", "json", mine.id).stdout)) < 2:
        assert time.monotonic() < deadline
    assert all(Path(f"/proc/{pid}").stat().st_uid == mine.user.account.pw_uid for pid in pids)
    mine.do("kill", "--all", mine.id, "KILL")
    mine.await_status("stopped")
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)


def test_a_shared_pid_namespace_leaves_no_process_behind(mine: UserContainer) -> None:
    linux = mine.spec["linux"]
    linux["namespaces"] = [row for row in linux["namespaces"] if row["type"] != "pid"]
    mine.spec["mounts"] = [row for row in mine.spec["mounts"] if row["type"] != "proc"]
    for key in ("maskedPaths", "readonlyPaths"):
        linux[key] = []
    mine.sh("sleep 1000 & wait").begin()
    deadline = time.monotonic() + 10
    while len(pids := json.loads(mine.do("ps", "--format", "json", mine.id).stdout)) < 2:
        assert time.monotonic() < deadline
    mine.do("delete", "--force", mine.id)
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)


def test_a_limit_without_a_group_is_refused_by_its_field(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").begin()
    for words in (("update", "--memory", "64m"), ("update", "--pids-limit", "9"), ("pause",)):
        assert mine.do(*words, mine.id, check=False).returncode == 1, words
    memory, pids, _ = mine.errors()
    assert memory.startswith("linux.resources.memory")
    assert pids.startswith("linux.resources.pids")
    mine.do("kill", mine.id, "KILL")
    mine.await_status("stopped")
    mine.do("delete", mine.id)
    mine.spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    assert mine.create(check=False).returncode == 1
    assert mine.kept() == []


def test_a_path_of_groups_that_are_not_the_users_is_passed_over(mine: UserContainer) -> None:
    """Debian's runc and crun refuse a path that is given."""
    mine.spec["linux"]["cgroupsPath"] = f"/twinhull-test/{mine.id}"
    assert mine.output("echo in") == "in\n"
    assert not leaks.groups_named(mine.id)


def test_the_terminal_goes_over_the_console_socket(users: UserContainer) -> None:
    path = users.scratch / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        users.user.give(path)
        users.spec["process"].update(terminal=True)
        users.sh("tty").create("--console-socket", str(path))
        connection, _ = listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 64, 1)
    users.start()
    with open(descriptors[0], "rb", buffering=0) as master:
        assert b"/dev/" in master.read(100)


def test_hooks_run_outside_and_inside(users: UserContainer) -> None:
    made = users.scratch / "hooks"
    made.mkdir()
    users.user.give(made)
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    users.spec["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{made}/{kind}; id -u >>{made}/{kind}"]}]
        for kind in kinds
    }
    users.sh("true").run()
    for kind in kinds:
        assert json.loads((made / kind).read_text().rpartition("}")[0] + "}")["id"] == users.id, kind


def test_a_directory_of_the_users_is_bound_and_roots_stays_closed(users: UserContainer) -> None:
    shared = users.scratch / "shared"
    shared.mkdir()
    users.user.give(shared)
    users.spec["mounts"] += [
        {"destination": "/shared", "type": "bind", "source": str(shared), "options": ["bind"]},
        {"destination": "/shown", "type": "bind", "source": str(shared), "options": ["rbind", "ro", "nosuid"]},
        {"destination": "/etc-of-host", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]},
    ]
    script = (
        "echo in >/shared/file; cat /shown/file; touch /shown/file || echo closed; cat /etc-of-host/shadow || echo no"
    )
    assert users.output(script).split() == ["in", "closed", "no"]
    assert (shared / "file").stat().st_uid == users.user.account.pw_uid


def test_the_hosts_network_is_seen_and_one_of_its_own_has_a_loopback(users: UserContainer) -> None:
    before = set(os.listdir("/sys/class/net"))  # those of others come and go meanwhile
    seen = set(users.output("ls /sys/class/net").split())
    after = set(os.listdir("/sys/class/net"))
    assert before & after <= seen <= before | after
    users.spec["linux"]["namespaces"].append({"type": "network"})
    users.spec["mounts"] = [row for row in users.spec["mounts"] if not row["destination"].startswith("/sys")]
    users.spec["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})
    users.spec["linux"]["maskedPaths"] = users.spec["linux"]["readonlyPaths"] = []
    assert int(users.output("cat /sys/class/net/lo/flags"), 16) & 1, "up"


def test_a_device_is_the_hosts_own_node(mine: UserContainer) -> None:
    mine.spec["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    script = "echo gone >/dev/null && head -c 3 /dev/zero | wc -c; ls -l /dev/fuse"
    if not Path("/dev/fuse").exists():
        mine.spec["linux"]["devices"] = []
        script = script.partition(";")[0]
    assert mine.output(script).split()[0] == "3"


def test_a_machine_is_refused(mine: UserContainer) -> None:
    mine.sh("true").write()
    done = mine.do("--isolation", "vm", "run", "--bundle", str(mine.bundle), mine.id, check=False)
    assert done.returncode == 1
    assert mine.errors()[0].startswith("a bundle becomes a virtual machine by root only")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("process.user.uid: 7", {"process": {"user": {"uid": 7, "gid": 0}}}),
        ("process.user.gid: 7", {"process": {"user": {"uid": 0, "gid": 7}}}),
        ("mounts[0].options: 'gid=5'", {"mounts": [{"destination": "/m", "type": "tmpfs", "options": ["gid=5"]}]}),
        ("mounts[0].type: sysfs", {"mounts": [{"destination": "/sys", "type": "sysfs", "source": "sysfs"}]}),
    ],
)
def test_what_one_number_does_not_allow_is_refused_by_its_field(
    users: UserContainer, field: str, change: dict[str, Any]
) -> None:
    users.sh("true")
    for section, value in change.items():
        users.spec[section] = {**users.spec[section], **value} if isinstance(value, dict) else value
    if users.runtime != "crun" or not field.startswith("mounts"):  # Debian's crun mounts something else then
        assert users.run(check=False).returncode == 1
    if users.ours:
        assert users.errors()[0].startswith(field)
        assert users.kept() == []


def test_exec_as_somebody_unknown_is_refused(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").begin()
    assert mine.do("exec", "--user", "7", mine.id, "true", check=False).returncode == 255
    assert mine.errors()[0].startswith("process.user.uid: 7")
    assert mine.exec("id", "-u").stdout == "0\n"


def test_where_no_user_namespace_can_be_made_the_error_names_the_setting(mine: UserContainer) -> None:
    """In one of the user's, whose limit is none: there he is number 1."""
    mapped(mine, [(0, 1, 1)])
    mine.sh("true").write()
    place = mine.scratch / "place"
    as_other = f"setpriv --reuid=1 --regid=1 --clear-groups env XDG_RUNTIME_DIR={place} {TWINHULL_OCI}"
    script = f"mkdir -m 777 {place}; echo 0 >/proc/sys/user/max_user_namespaces; {as_other} run it; ls {place}/*"
    done = mine.as_user("unshare", "--map-auto", "--map-root-user", "sh", "-c", script, check=False)
    assert "no user namespace can be made without root" in done.stderr
    assert "sysctl -w user.max_user_namespaces=" in done.stderr
    assert done.stdout == "", "nothing is left"


def test_a_user_namespace_of_anothers_is_not_joined(mine: UserContainer) -> None:
    linux = mine.spec["linux"]
    linux["namespaces"] = [row for row in linux["namespaces"] if row["type"] != "user"]
    linux["namespaces"].append({"type": "user", "path": "/proc/1/ns/user"})
    for key in ("uidMappings", "gidMappings"):
        del linux[key]
    assert mine.sh("true").run(check=False).returncode == 1
    assert mine.errors() == [
        "linux.namespaces: the user namespace /proc/1/ns/user cannot be entered: Permission denied"
    ]
    assert mine.kept() == []


def test_a_process_of_another_number_is_told_of_and_killed(mine: UserContainer) -> None:
    first, size = numbers(mine)
    mapped(mine, [(0, mine.user.account.pw_uid, 1), (1, first, size)])
    mine.spec["process"]["user"] = {"uid": 33, "gid": 33}
    mine.args("/bin/sleep", "1000").begin()
    pid = mine.state()["pid"]
    assert Path(f"/proc/{pid}").stat().st_uid == first + 32
    assert json.loads(mine.do("ps", "--format", "json", mine.id).stdout) == [pid]
    assert mine.exec("id", "-u").stdout == "33\n"
    mine.do("kill", mine.id, "KILL")
    mine.await_status("stopped")
    mine.do("delete", mine.id)
    assert mine.kept() == []
