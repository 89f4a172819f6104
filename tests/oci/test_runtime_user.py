"""twinhull-oci for a user without root: what `spec --rootless` writes is run, in a user namespace of his own."""

from __future__ import annotations

import json
from pathlib import Path

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
