"""diff, commit, export and rename: the same for both isolations."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.command import COMMAND
from tests.support.wall import Wall

SCRIPT = """
echo new > /root/new; echo '#changed' >> /etc/profile; rm /bin/tac; mkdir -p /made/inside; ln -s nowhere /made/link
chmod 711 /var; echo volume > /vol/file; chown 5:6 /root/new
ln /root/new /made/inside/again; ln /root/new /root/third
echo ready; exec sleep 1005
"""
DIFFERENT = """
C /bin|D /bin/tac|A /made|A /made/inside|A /made/inside/again|A /made/link|C /root|A /root/new|A /root/third|C /var
""".strip().split("|")


@pytest.mark.parity("diff, commit, export")
def test_diff_commit_and_export_tell_the_same_of_what_runs(wall: Wall, tmp_path: Path) -> None:
    wall.detached("--name", "box", "-e", "KEPT=yes", "-v", f"{tmp_path}:/vol", "busybox", "sh", "-c", SCRIPT)
    wall.await_log("box", "ready")
    lines = wall("diff", "box", check=True).stdout.splitlines()
    assert [line for line in lines if "/etc" not in line] == DIFFERENT
    assert [line for line in lines if "/etc" in line] in (["C /etc", "A /etc/profile"], ["C /etc", "C /etc/profile"])
    assert wall("diff", "--format", "json", "box", check=True).json()[0] == {"kind": "C", "path": "/bin"}
    words = ("-m", "a comment", "-a", "me", "-c", "ENV MORE=1 'TWO=2 3'", "-c", 'CMD ["cat", "/root/new"]')
    identity = wall("commit", *words, "box", "team/box:1", check=True).stdout.strip()
    assert identity.startswith("sha256:")
    assert wall.row("box")["status"] == "running"
    for isolation in ("container", "vm"):
        again = ("run", "--rm", "--network", "none", "--isolation", isolation, "team/box:1")
        assert wall(*again, check=True).stdout == "new\n"
        look = "echo $KEPT $MORE $TWO; stat -c '%u %g %h' /root/new; stat -c %a /var; readlink /made/link"
        look += "; ls /bin/tac /vol"
        shown = wall(*again, "sh", "-c", look)
        assert shown.stdout.splitlines() == ["yes 1 2 3", "5 6 3", "711", "nowhere"], shown
    exported = subprocess.run(
        [COMMAND, "export", "box"], env=wall.twinhull.environment(), capture_output=True, check=True, timeout=60
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        names = archive.getnames()
        assert {"bin/busybox", "root/new", "made/inside", "proc", "vol"} <= set(names)
        assert not [name for name in names if name.startswith(("proc/", "vol/", "dev/", "sys/"))]
        assert archive.getmember("root/new").gid == 6
        of_one = [archive.getmember(name) for name in ("made/inside/again", "root/new", "root/third")]
        assert sorted(member.islnk() for member in of_one) == [False, True, True]
        assert [archive.extractfile(member).read() for member in of_one] == [b"new\n"] * 3  # type: ignore[union-attr]  # None for no file
    wall("rmi", "team/box:1", check=True)


@pytest.mark.parity("diff, commit, export")
def test_what_does_not_run_can_be_committed_and_is_not_started(wall: Wall) -> None:
    wall.created(
        "--name", "box", "busybox", "sh", "-c", "echo $(( $(cat /count 2>/dev/null) + 1 )) > /count; cat /count"
    )
    assert wall("diff", "box", check=True).stdout == ""
    assert wall("start", "-a", "box").stdout == "1\n"
    assert wall("diff", "box", check=True).stdout == "A /count\n"
    wall("commit", "box", "team/count", check=True)
    assert wall("start", "-a", "box").stdout == "2\n"
    assert wall.run("team/count", "cat", "/count").stdout == "1\n"
    for words, text in (
        (("commit", "-c", "RUN true", "box"), "takes no RUN"),
        (("commit", "box", "Not A Name"), "reference"),
        (("diff", "nobody"), "no such workload"),
    ):
        refused = wall(*words)
        assert (refused.exit_code, text in refused.stderr) == (125, True), refused.stderr
    wall("rmi", "team/count", check=True)


@pytest.mark.parity("rename")
def test_a_new_name_is_the_only_one_and_others_find_it(wall: Wall) -> None:
    wall.detached("--name", "old", "--network", "bridge", "busybox", "sleep", "1006")
    wall.created("--name", "taken", "busybox")
    assert "in use" in wall("rename", "old", "taken").stderr
    assert "invalid name" in wall("rename", "old", "no/name").stderr
    wall("rename", "old", "new", check=True)
    assert wall("exec", "old", "true").exit_code == 125
    assert wall("exec", "new", "nslookup", "new").exit_code == 0
    wall("stop", "-t", "0", "new", check=True)
    wall("start", "new", check=True)
    assert wall("exec", "new", "true").exit_code == 0
