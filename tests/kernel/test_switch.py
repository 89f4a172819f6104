"""switch: a workload on the other side of the wall, with everything but its processes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import COMMAND, Twinhull
from tests.support.wall import Wall

OTHER = {"container": "vm", "vm": "container"}
SCRIPT = """
if [ ! -e /made ]; then
  rm /bin/tac; mkdir -p -m 711 /made/inside; touch /made/empty; head -c 1024 /dev/zero > /made/whole
  echo '#changed' >> /etc/profile; ln -s nowhere /made/link; mkfifo -m 640 /made/fifo; chown 5:6 /made/empty
  ln /made/empty /made/inside/hard
fi
echo start >> /vol/starts; echo ready; exec sleep 1015
"""
LOOK = "cat /vol/starts | wc -l; hostname; ip -4 -o address show eth0 | grep -o 'inet [0-9./]*'; ls /bin/tac"
LIST = "cd /; stat -c '%n %F %a %u %g %s %Y %h' /made/* /etc/profile; readlink /made/link; tail -n 1 /etc/profile"


@pytest.mark.parity("switch")
def test_it_goes_over_with_everything_but_its_processes(wall: Wall) -> None:
    wall("volume", "create", "shared", check=True)
    words = ("--name", "box", "--network", "bridge", "-p", "80", "-v", "shared:/vol", "-e", "KEPT=yes")
    wall.detached(*words, "busybox", "sh", "-c", SCRIPT)
    wall.await_log("box", "ready")
    before = [wall("exec", "box", "sh", "-c", text).stdout for text in (LOOK, LIST)]
    kernel = wall("exec", "box", "uname", "-r").stdout
    ports, changed = (wall(verb, "box", check=True).stdout for verb in ("port", "diff"))
    row = wall.row("box")

    done = wall("switch", "box", "--to", OTHER[wall.isolation], "-t", "0", check=True)

    assert done.stdout == "box\n" and "its processes started anew" in done.stderr
    there = wall.row("box")
    assert (there["isolation"], there["status"], there["id"]) == (OTHER[wall.isolation], "running", row["id"])
    again = wall("exec", "box", "sh", "-c", LOOK).stdout
    assert again.splitlines()[0] == "2" and again.splitlines()[1:] == before[0].splitlines()[1:]
    assert wall("exec", "box", "sh", "-c", LIST).stdout == before[1]
    assert wall("exec", "box", "sh", "-c", "echo $KEPT").stdout == "yes\n"
    assert (wall("port", "box").stdout, wall("diff", "box").stdout) == (ports, changed)
    assert wall("exec", "box", "uname", "-r").stdout != kernel
    assert wall("logs", "box", check=True).stdout.count("ready") == 2
    wall("rm", "-f", "box", check=True)
    wall("volume", "rm", "shared", check=True)


@pytest.mark.parity("switch")
def test_what_does_not_run_goes_over_and_back_and_is_not_started(wall: Wall) -> None:
    wall.created("--name", "box", "busybox", "sh", "-c", "echo $(( $(cat /n 2>/dev/null) + 1 )) > /n; cat /n")
    for number, side in enumerate((OTHER[wall.isolation], wall.isolation, OTHER[wall.isolation]), 1):
        assert wall("start", "-a", "box").stdout == f"{number}\n"
        done = wall("switch", "--to", side, "box", check=True)
        assert "it was not running" in done.stderr
        row = wall.row("box")
        assert (row["isolation"], row["status"]) == (side, "exited")
        assert wall("diff", "box", check=True).stdout == "A /n\n"
    assert wall("start", "-a", "box").stdout == "4\n"


@pytest.mark.parametrize(
    ("words", "side", "text"),
    [
        ((), "container", "is a container already"),
        (("--rm",), "vm", "was made with --rm"),
        (("--network", "host"), "vm", "cannot share the host's network"),
        (("--userns", "private"), "vm", "user namespace"),
        ((), "", "where to?"),
    ],
)
def test_what_the_other_side_cannot_give_is_refused_and_nothing_ends(
    parity_home: Twinhull, words: tuple[str, ...], side: str, text: str
) -> None:
    network = () if "--network" in words else ("--network", "none")
    parity_home("run", "-d", "--name", "box", *network, *words, "busybox", "sleep", "1016", check=True)
    refused = parity_home("switch", "box", *(("--to", side) if side else ()))
    (row,) = parity_home("ps", "--format", "json", check=True).json()
    parity_home.remove_all()
    assert (refused.exit_code, refused.stdout, text in refused.stderr) == (125, "", True), refused.stderr
    assert row["status"] == "running"


def test_killed_at_any_moment_it_is_whole_on_one_side(parity_home: Twinhull) -> None:
    script = "rm /bin/tac; mkdir /made; for i in $(seq 50); do echo $i > /made/$i; done; touch /made/empty"
    parity_home("run", "--network", "none", "--name", "box", "busybox", "sh", "-c", script, check=True)
    changed = parity_home("diff", "box", check=True).stdout
    assert changed.count("\n") == 54
    began = time.monotonic()
    parity_home("switch", "box", "--to", "vm", check=True)
    took_s = time.monotonic() - began
    for part in range(1, 8):
        (row,) = parity_home("ps", "-a", "--format", "json", check=True).json()
        words = ("switch", "box", "--to", OTHER[row["isolation"]])
        with subprocess.Popen([COMMAND, *words], env=parity_home.environment(), stderr=subprocess.DEVNULL) as switching:
            time.sleep(took_s * part / 8)
            switching.kill()
        assert parity_home("diff", "box", check=True).stdout == changed
        (row,) = parity_home("ps", "-a", "--format", "json", check=True).json()
        assert row["status"] == "exited"
    assert parity_home("start", "-a", "box").exit_code == 0
    parity_home.remove_all()


def test_what_is_not_trusted_goes_to_the_hosts_kernel_only_if_that_is_said(parity_home: Twinhull) -> None:
    words = ("--vm", "--untrusted", "--accept-weak-wall", "--network", "none", "--name", "box")
    parity_home("create", *words, "busybox", "true", check=True)
    refused = parity_home("switch", "box", "--to", "container")
    (row,) = parity_home("ps", "-a", "--format", "json", check=True).json()
    assert (refused.exit_code, "shares the host's kernel" in refused.stderr) == (125, True), refused.stderr
    assert "--accept-weak-wall" in refused.stderr
    assert row["isolation"] == "vm"
    parity_home("switch", "box", "--to", "container", "--accept-weak-wall", check=True)
    (row,) = parity_home("ps", "-a", "--format", "json", check=True).json()
    parity_home.remove_all()
    assert (row["isolation"], "accepted" in row["wall"]) == ("container", True)


def test_what_cannot_be_there_is_refused_before_it_is_stopped(parity_home: Twinhull) -> None:
    parity_home("run", "-d", "--network", "none", "--name", "box", "--memory", "9999g", "busybox", "sleep", "600")
    (before,) = parity_home("inspect", "box", check=True).json()
    refused = parity_home("switch", "box", "--to", "vm")
    (after,) = parity_home("inspect", "box", check=True).json()
    parity_home.remove_all()
    assert (refused.exit_code, "of memory, and a virtual machine cannot have more" in refused.stderr) == (125, True)
    assert (after["status"], after["started"]) == ("running", before["started"])


def test_what_does_not_start_there_runs_on_where_it_was(parity_home: Twinhull, tmp_path: Path) -> None:
    parity_home("run", "-d", "--name", "box", "-p", "80", "busybox", "sh", "-c", "echo x >> /n; exec sleep 600")
    ports = parity_home("port", "box", check=True).stdout
    (tmp_path / "bad.toml").write_text('vm_kernel = "/nowhere/vmlinuz"\n')
    bad = {"TWINHULL_CONFIG": str(tmp_path / "bad.toml")}
    refused = parity_home("switch", "box", "--to", "vm", "-t", "0", variables=bad)
    said = parity_home("exec", "box", "cat", "/n")
    (row,) = parity_home("ps", "--format", "json", check=True).json()
    again = parity_home("port", "box", check=True).stdout
    parity_home.remove_all()
    assert refused.exit_code == 125, refused.stderr
    assert "it is a container still, and runs, its processes started anew" in refused.stderr
    assert (row["isolation"], row["status"], said.stdout, again) == ("container", "running", "x\nx\n", ports)


def test_on_a_network_with_ipv6_both_addresses_stay(wall: Wall) -> None:
    wall("network", "create", "--ipv6", "six", check=True)
    wall.detached("--name", "box", "--network", "six", "busybox", "sleep", "1000")
    before = wall.row("box")["networks"][0]
    wall("switch", "box", "--to", OTHER[wall.isolation], "-t", "0", check=True)
    after = wall.row("box")["networks"][0]
    assert (after["address"], after["address6"]) == (before["address"], before["address6"])
    assert before["address6"] in wall("exec", "box", "ip", "-6", "addr", "show", "eth0", check=True).stdout
    wall("rm", "-f", "box", check=True)
    wall("network", "rm", "six", check=True)


@pytest.mark.parametrize("later_s", [0.0, 1.0])
def test_of_two_at_once_one_is_refused_and_nothing_is_lost(wall: Wall, later_s: float) -> None:
    wall.detached("--name", "box", "busybox", "sh", "-c", "echo run >> /d; exec sleep 1017")
    wall("exec", "box", "sh", "-c", "echo precious > /precious", check=True)
    there = OTHER[wall.isolation]
    words = ("switch", "box", "--to", there, "-t", "0")
    environment = wall.twinhull.environment()
    with subprocess.Popen([COMMAND, *words], env=environment, stderr=subprocess.PIPE, text=True) as first:
        time.sleep(later_s)
        second = wall(*words)
        said = first.communicate()[1]
    outcomes = sorted([(first.returncode, said), (second.exit_code, second.stderr)])
    assert [code for code, _ in outcomes] == [0, 125], outcomes
    assert "is being started, stopped, copied or switched" in outcomes[1][1] or "already" in outcomes[1][1], outcomes
    row = wall.row("box")
    assert (row["isolation"], row["status"]) == (there, "running")
    assert wall("exec", "box", "cat", "/precious", "/d", check=True).stdout == "precious\nrun\nrun\n"
    wall("rm", "-f", "box", check=True)


@pytest.mark.parametrize(
    ("words", "code", "side", "status"),
    [
        (("rm", "box"), 1, "vm", "running"),
        (("rm", "-f", "box"), 0, "", ""),
        (("rename", "box", "other"), 0, "vm", "running"),
        (("stop", "-t", "0", "box"), 0, "vm", "exited"),
        (("restart", "-t", "0", "box"), 0, "vm", "running"),
        (("start", "box"), 1, "vm", "running"),
        (("update", "--pids-limit", "50", "box"), 0, "vm", "running"),
    ],
)
def test_another_verb_waits_for_it_or_is_refused(
    parity_home: Twinhull, words: tuple[str, ...], code: int, side: str, status: str
) -> None:
    script = "echo run >> /d; exec sleep 1018"
    parity_home("run", "-d", "--network", "none", "--name", "box", "busybox", "sh", "-c", script, check=True)
    switch = ("switch", "box", "--to", "vm", "-t", "0")
    with subprocess.Popen(
        [COMMAND, *switch], env=parity_home.environment(), stderr=subprocess.PIPE, text=True
    ) as switching:
        time.sleep(0.7)
        done = parity_home(*words)
        said = switching.communicate()[1]
    rows = parity_home("ps", "-a", "--format", "json", check=True).json()
    read = parity_home("exec", rows[0]["name"], "head", "-n", "2", "/d") if status == "running" else None
    parity_home.remove_all()
    ended = 125 if "-f" in words and switching.returncode else 0  # it may be removed while it is being started
    assert (switching.returncode, done.exit_code) == (ended, code), (said, done.stderr)
    assert [(row["isolation"], row["status"]) for row in rows] == ([(side, status)] if side else [])
    assert read is None or read.stdout == "run\nrun\n", read.stderr
