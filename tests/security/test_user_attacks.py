"""The known attacks on OCI runtimes, tried on twinhull-oci as a user without root calls it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.support.oci import RUNTIMES, TWINHULL_OCI, WITHOUT_FRONT
from tests.support.oci_user import UserContainer
from twinhull.runtime.oci.launcher import launcher

INTERPRETER = RUNTIMES[WITHOUT_FRONT][0]


def holds(container: UserContainer, *names: str) -> None:
    """Let its program hold these capabilities as well."""
    sets = container.spec["process"]["capabilities"]
    container.spec["process"]["capabilities"] = {kind: [*held, *names] for kind, held in sets.items()}


@pytest.fixture
def own_launcher(mine: UserContainer) -> Path:
    """A launcher that is the user's own, as `pip install --user` leaves it: it is root's inside."""
    copy = mine.scratch / "launcher"
    shutil.copy(launcher(), copy)
    mine.user.give(copy)
    mine.command = ["env", f"TWINHULL_LAUNCHER={copy}", str(copy), f"oci {INTERPRETER}", str(TWINHULL_OCI)]
    return copy


def test_a_launcher_that_is_the_users_cannot_be_overwritten(mine: UserContainer, own_launcher: Path) -> None:
    """CVE-2019-5736: through /proc/PID/exe of a process that joins, and as the program itself."""
    before = hashlib.sha256(own_launcher.read_bytes()).hexdigest()
    holds(mine, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    mine.sh("while :; do for exe in /proc/[0-9]*/exe; do echo x >>$exe; done; done 2>/dev/null").begin()
    for _ in range(10):
        assert mine.exec("true").returncode == 0
    mine.remove()
    for program in ("/proc/self/exe", "/proc/1/exe"):
        mine.args(program, "-c", "true").run(check=False)
    assert hashlib.sha256(own_launcher.read_bytes()).hexdigest() == before


def test_what_runs_is_a_sealed_copy_of_such_a_launcher(mine: UserContainer, own_launcher: Path) -> None:
    """What the container's first process was before its program."""
    mine.args("/bin/sleep", "1000").create()
    exe = Path(f"/proc/{mine.state()['pid']}/exe")
    assert str(exe.readlink()).startswith("/memfd:launcher")
    with pytest.raises(OSError, match=r"busy|not permitted"), exe.open("r+b"):
        pass


def test_roots_launcher_needs_no_copy(mine: UserContainer) -> None:
    mine.args("/bin/sleep", "1000").create()
    assert str(Path(f"/proc/{mine.state()['pid']}/exe").readlink()) == launcher()
    assert Path(launcher()).stat().st_uid == 0


def test_what_is_roots_is_out_of_reach_for_roots_name_inside(mine: UserContainer) -> None:
    secret = mine.scratch / "secret"
    secret.write_text("root's own")
    secret.chmod(0o600)
    holds(mine, "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER", "CAP_SYS_ADMIN", "CAP_MKNOD")
    mine.spec["mounts"].append({"destination": "/h", "type": "bind", "source": str(mine.scratch), "options": ["bind"]})
    script = "cat /h/secret; chmod 666 /h/secret; chown 0 /h/secret; echo over >/h/secret; mknod /h/disk b 8 0"
    done = mine.sh(script).run(check=False)
    assert len(done.stderr.splitlines()) == 5, done.stderr
    assert not (mine.scratch / "disk").exists()
    assert (secret.read_text(), secret.stat().st_uid) == ("root's own", 0)


def test_a_filter_and_masked_paths_hold(mine: UserContainer) -> None:
    mine.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
    done = mine.sh("mkdir /made; wc -c </proc/keys; grep Seccomp: /proc/self/status; touch /proc/sys/made").run(
        check=False
    )
    assert done.stdout.split() == ["0", "Seccomp:", "2"]
    assert "mkdir" in done.stderr
